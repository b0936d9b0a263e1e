/** What Kubernetes costs: reviews of pods, one controller of a large cluster, calls that are redirected. */
import { type CaseReport, judgeLimits, judgeRatios, notMeasured, type Row } from '../report.ts'
import { type Bench, cpuDetail, setup } from './compare.ts'
import { measureController, measureSnapshot } from './controller.ts'
import type { CpuResult } from './cpu.ts'
import { measureRedirect, REDIRECT_MISSING } from './redirect.ts'
import { measureWebhook } from './webhook.ts'

export async function webhook({ program, quick, ...bench }: Bench): Promise<CaseReport> {
  const { folder } = setup({ program, quick, ...bench })
  const { micros, lowest, highest, rate, request, answer } = await measureWebhook({ program, folder, quick })
  return {
    rows: [judgeLimits('review of a pod by the webhook, CPU', [{ value: micros / 1000, atMost: 2 }], 'ms')],
    details: [
      {
        title: 'Reviews of pods',
        columns: [
          '4 connections that are kept',
          'CPU µs a review, median',
          'lowest – highest',
          'reviews a second',
          'bytes asked · answered',
        ],
        rows: [
          [
            'a pod of a Deployment, redirect, with probes',
            micros.toFixed(0),
            `${lowest.toFixed(0)} – ${highest.toFixed(0)}`,
            rate.toFixed(0),
            `${request} · ${answer}`,
          ],
        ],
      },
    ],
  }
}

export async function controller({ program, quick, ...bench }: Bench): Promise<CaseReport> {
  const { folder } = setup({ program, quick, ...bench })
  const options = { program, folder, quick }
  const result = await measureController(options)
  const { size, sidecars } = result
  // In each namespace there is as much as in every other, whatever the size of the cluster.
  const small = {
    ...size,
    namespaces: 3,
    services: (size.services / size.namespaces) * 3,
    pods: 100,
    policies: (size.policies / size.namespaces) * 3,
  }
  const calls = { 'postern.dev/calls': 'ns-1,ns-2' }
  const [narrowSmall, narrowLarge] = [
    await measureSnapshot(options, 'small', small, calls),
    await measureSnapshot(options, 'narrow', size, calls),
  ]
  const all = await measureSnapshot(options, 'all', small)
  const count = (value: number): string => value.toLocaleString('en')
  const what = `${count(size.pods)} pods, ${count(size.policies)} policies, ${sidecars} sidecars on one controller`
  const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(1)} KB`
  return {
    rows: [
      judgeLimits(
        `${what}: a changed Policy · ClusterPolicy is out at all that it concerns, longest of several`,
        [result.policy, result.clusterPolicy].map(({ longest }) => ({ value: longest, atMost: 1000 })),
        'ms',
      ),
      judgeLimits('the same: how often the changed policy is read', [{ value: result.readsPerChange, atMost: 1 }], 'times'),
      judgeLimits('the same: snapshots sent to sidecars that it does not concern', [{ value: result.unconcerned, atMost: 0 }], ''),
      judgeRatios(
        `snapshot of a sidecar whose namespace says whom it calls, ${count(size.pods)} pods`,
        narrowLarge / 1000,
        new Map([['itself at 100 pods', narrowSmall / 1000]]),
        [{ peer: 'itself at 100 pods', atMost: 1.05 }],
        'KB',
      ),
      stated(`${what}: RSS listed · serving`, `${result.rssReady.toFixed(0)} · ${result.rssServing.toFixed(0)} MB`),
      stated(
        'the same: CPU until all is listed · until all sidecars are served and statuses written',
        `${result.syncCpu.toFixed(1)} · ${result.settleCpu.toFixed(1)} s`,
      ),
    ],
    details: [
      {
        title: 'One controller of a large cluster',
        columns: [`${what}, ${size.namespaces} namespaces, ${size.services} Services`, ''],
        rows: [
          ['ready, all listed, from the start of the process', `${(result.readyMs / 1000).toFixed(1)} s`],
          ['statuses written until all policies say how many sidecars run them', count(result.statusWrites)],
          [
            'nothing changes: CPU · calls of the API server',
            `${(result.idle * 100).toFixed(1)} % of a core · ${result.idleCalls.toFixed(1)} a second`,
          ],
          ['a pod made anew (5 events): CPU', `${(result.podMicros / 1000).toFixed(1)} ms`],
          ['a changed Policy is out at the last sidecar of its namespace: median · longest', milliseconds(result.policy)],
          ['a changed ClusterPolicy is out at the last of all sidecars: median · longest', milliseconds(result.clusterPolicy)],
        ],
      },
      {
        title: 'Snapshot of one sidecar',
        columns: ['', `${small.services} Services, 100 pods`, `${size.services} Services, ${count(size.pods)} pods`],
        rows: [
          ['as it is: the services of the mesh', kilobytes(all), kilobytes(result.snapshot)],
          ['its namespace says that it calls two others (`postern.dev/calls`)', kilobytes(narrowSmall), kilobytes(narrowLarge)],
        ],
      },
    ],
  }
}

export async function redirect(bench: Bench): Promise<CaseReport> {
  const what = 'redirected request, CPU · one at a time, from end to end'
  const budget = '≤ 1.1 · 1.1 × the sidecar’s listener'
  if (REDIRECT_MISSING !== false) return { rows: [notMeasured(what, budget, REDIRECT_MISSING)], details: [] }
  const { kept, fresh, alone } = await measureRedirect(bench, setup(bench).folder)
  const ratio = ([direct, redirected]: readonly CpuResult[], of: (result: CpuResult) => number): number =>
    direct === undefined || redirected === undefined ? Number.NaN : of(redirected) / of(direct)
  const [cpu, time] = [ratio(kept, ({ micros }) => micros), ratio(alone, ({ rate }) => 1 / rate)]
  const row: Row = {
    what,
    budget,
    measured: `${cpu.toFixed(2)} · ${time.toFixed(2)} × the sidecar’s listener`,
    kept: cpu <= 1.1 && time <= 1.1,
  }
  return {
    rows: [row],
    details: [
      cpuDetail('Redirected calls, 16 connections that are kept', 'request', kept),
      cpuDetail('Redirected calls, a connection for each request', 'request', fresh),
      cpuDetail('Redirected calls, one at a time', 'request', alone),
    ],
  }
}

/** A figure of which nothing is promised. */
function stated(what: string, measured: string): Row {
  return { what, budget: '', measured, kept: true }
}

function milliseconds({ median, longest }: { readonly median: number; readonly longest: number }): string {
  return `${median.toFixed(0)} · ${longest.toFixed(0)} ms`
}
