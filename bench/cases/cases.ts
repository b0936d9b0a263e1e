/** The cases by name: each measures, judges against its budgets, and gives the figures behind. Another case is another entry. */
import { join } from 'node:path'
import { bareNode } from '../contenders/bare-node.ts'
import { nodeFloor } from '../contenders/node-floor.ts'
import { postern } from '../contenders/postern.ts'
import type { Contender, Running } from '../contenders/contender.ts'
import { STEP_CA_VERSION } from '../contenders/step-ca.ts'
import { makeCertificates } from '../environment/certificates.ts'
import { createLoad } from '../load/wrk.ts'
import { type CaseReport, type Detail, judgeLimits, judgeRatios, notMeasured, type Row, unjudged } from '../report.ts'
import { measureAuthority } from './ca.ts'
import { type Bench, byName, compareCpu, cpuDetail, FEW_RULES, MANY_RULES, peers, setup } from './compare.ts'
import { http2 } from './http2.ts'
import type { CpuResult } from './cpu.ts'
import { controller, redirect, webhook } from './kubernetes.ts'
import type { LoopReport } from './loop-monitor.ts'
import { measureMemory, type MemoryResult, SETTLE_MS } from './memory.ts'
import { measureMicro } from './micro.ts'
import { measureReady } from './ready.ts'
import { measureReload } from './reload.ts'
import { measureStepCa, type StepCaResult } from './step-ca.ts'
import { transfer } from './transfer.ts'

export const CASES: Readonly<Record<string, (bench: Bench) => Promise<CaseReport>>> = {
  http1,
  http2,
  transfer,
  handshake,
  decision,
  record,
  token,
  registry,
  rss,
  ready,
  reload,
  ca,
  webhook,
  controller,
  redirect,
}

async function compareHttp1(bench: Bench, contenders: readonly Contender[], connections: number, closeEach: boolean): Promise<CpuResult[]> {
  await using stack = new AsyncDisposableStack()
  const running: Running[] = []
  for (const contender of contenders) running.push(stack.use(await contender.start(setup(bench))))
  // Awaited here: on return the contenders are ended.
  return await compareCpu(bench, running, createLoad(bench.certificates, bench.shim), { connections, closeEach })
}

async function http1(bench: Bench): Promise<CaseReport> {
  const few = postern({ program: bench.program, rules: FEW_RULES })
  const many = postern({ program: bench.program, rules: MANY_RULES })
  const results = await compareHttp1(bench, [few, many, ...peers(bench)], 16, false)
  const micros = byName(results)
  const ours = micros.get(few.name) ?? Number.NaN
  return {
    rows: [
      judgeRatios(
        'HTTP/1.1 keep-alive 1 KB, CPU per request',
        ours,
        micros,
        [
          { peer: 'nginx', atMost: 1.3 },
          { peer: 'Envoy', atMost: 0.75 },
        ],
        'µs',
      ),
      judgeRatios(
        'the same at 10,000 rules',
        micros.get(many.name) ?? Number.NaN,
        new Map([['itself at 10 rules', ours]]),
        [{ peer: 'itself at 10 rules', atMost: 1.1 }],
        'µs',
      ),
    ],
    details: [cpuDetail('HTTP/1.1, keep-alive, 16 connections', 'request', results)],
  }
}

async function handshake(bench: Bench): Promise<CaseReport> {
  const contender = postern({ program: bench.program, rules: FEW_RULES })
  const floor = nodeFloor(bench.program)
  const results = await compareHttp1(bench, [contender, floor, ...peers(bench)], 8, true)
  const micros = byName(results)
  const figure = (name: string): number => micros.get(name) ?? Number.NaN
  const ours = figure(contender.name)
  return {
    rows: [
      judgeRatios('full mutual handshake with one request, CPU', ours, micros, [{ peer: 'nginx', atMost: 0.75 }], 'µs'),
      unjudged('the same beside a relay of bytes on Node alone', ours, new Map([[floor.name, figure(floor.name)]]), 'µs'),
    ],
    details: [cpuDetail('Full mutual handshakes, one request each, 8 at a time', 'handshake', results)],
  }
}

async function decision(): Promise<CaseReport> {
  return micro('policy', 'decision, 10 and 10,000 rules', [
    { match: /^10 rules$/, atMost: 1 },
    { match: /^10,?000 rules$/, atMost: 2 },
  ])
}

async function record(): Promise<CaseReport> {
  return micro('record', 'decision record', [{ match: /record/, atMost: 1 }])
}

async function token(): Promise<CaseReport> {
  return micro('token', 'verified token seen again', [{ match: /^ES256 token of \d+ bytes seen again$/, atMost: 3 }])
}

async function registry(): Promise<CaseReport> {
  const what = '100,000 live connections decided again under 10,000 rules: longest turn of the event loop'
  return micro('registry', what, [{ match: /^the longest turn of decided again$/, atMost: 20 }], 'ms')
}

const NANOSECONDS = { µs: 1e3, ms: 1e6 } as const

/** A row from a program in bench/micro: for each limit the line whose name matches. */
function micro(
  program: string,
  what: string,
  limits: readonly { readonly match: RegExp; readonly atMost: number }[],
  unit: keyof typeof NANOSECONDS = 'µs',
): CaseReport {
  const results = measureMicro([program])
  const figures = limits.map(({ match, atMost }) => ({
    value: (results.find(({ name }) => match.test(name))?.nanoseconds ?? Number.NaN) / NANOSECONDS[unit],
    atMost,
  }))
  const budget = `≤ ${limits.map(({ atMost }) => atMost).join(' · ')} ${unit}`
  const row: Row = figures.some(({ value }) => Number.isNaN(value))
    ? notMeasured(what, budget, `bench/micro/${program}.ts does not print it`)
    : judgeLimits(what, figures, unit)
  const details: Detail[] = [
    { title: `In process: ${program}`, columns: ['', 'ns'], rows: results.map(({ name, nanoseconds }) => [name, String(nanoseconds)]) },
  ]
  return { rows: [row], details: results.length === 0 ? [] : details }
}

async function rss(bench: Bench): Promise<CaseReport> {
  const connections = bench.quick ? 200 : 1000
  const ours = postern({ program: bench.program, rules: FEW_RULES })
  const settle = bench.quick ? 300 : SETTLE_MS
  const measured = async (protocol: 'http1' | 'http2'): Promise<MemoryResult[]> => {
    const results = []
    for (const contender of [ours, ...(protocol === 'http1' ? [bareNode()] : []), ...peers(bench)])
      results.push(await measureMemory(contender, setup(bench, protocol), connections, settle))
    return results
  }
  const [http1, http2] = [await measured('http1'), await measured('http2')]
  const mine = [http1[0], http2[0]]
  return {
    rows: [
      judgeLimits(
        `RSS ready, and with ${connections.toLocaleString('en')} idle mTLS connections, HTTP/1.1 · HTTP/2`,
        [
          { value: mine[0]?.ready ?? Number.NaN, atMost: 75 },
          ...mine.map((result) => ({ value: result?.loaded ?? Number.NaN, atMost: 130 })),
        ],
        'MB',
      ),
    ],
    details: [
      {
        title: 'Resident memory',
        columns: [
          '',
          'ready, MB',
          `with ${connections.toLocaleString('en')} idle connections, MB`,
          'kB a connection',
          'the same over HTTP/2, MB',
        ],
        rows: http1.map(({ name, ready, loaded }) => [
          name,
          ready.toFixed(0),
          loaded.toFixed(0),
          (((loaded - ready) * 1000) / connections).toFixed(0),
          http2.find((result) => result.name === name)?.loaded.toFixed(0) ?? '',
        ]),
      },
    ],
  }
}

/**
 * On one core, which is the harder case: what Node does in threads of its own (collecting garbage, compiling) then takes from the start. A
 * container with a fraction of a core as its limit is between the two: it may use several at once until its share of a period is spent.
 */
async function ready(bench: Bench): Promise<CaseReport> {
  const options = { program: bench.program, rules: FEW_RULES }
  const contenders = [postern(options), postern({ ...options, unpinned: true }), bareNode(), ...peers(bench)]
  const results = []
  for (const contender of contenders) results.push(await measureReady(contender, setup(bench), bench.quick ? 3 : 9))
  return {
    rows: [judgeLimits('ready, identity from files', [{ value: results[0]?.milliseconds ?? Number.NaN, atMost: 250 }], 'ms')],
    details: [
      {
        title: 'From start to ready',
        columns: ['', 'ms, median', 'of processor time'],
        rows: results.map(({ name, milliseconds, cpuMilliseconds }) => [name, milliseconds.toFixed(0), cpuMilliseconds.toFixed(0)]),
      },
    ],
  }
}

async function reload(bench: Bench): Promise<CaseReport> {
  const own = setup(bench)
  const certificates = await makeCertificates(join(own.folder, 'certificates'))
  const result = await measureReload({
    program: bench.program,
    rules: MANY_RULES,
    folder: own.folder,
    upstreamPort: bench.upstream.port('http1'),
    certificates,
    load: createLoad(certificates, bench.shim),
  })
  const { requests, failures, quiet, policies, svid, policiesInForceMs } = result
  return {
    rows: [
      judgeLimits('policy or SVID reload under load: requests failed', [{ value: failures, atMost: 0 }], `of ${requests}`),
      judgeLimits(
        'the same: longest turn of the event loop, processor time',
        [{ value: Math.max(policies.work, svid.work), atMost: 20 }],
        'ms',
      ),
    ],
    details: [
      {
        title: 'Reloads under load',
        columns: ['longest turn of the event loop', 'processor time, ms', 'by the clock, ms'],
        rows: [
          ['load alone, 1 s', ...milliseconds(quiet)],
          [`reload of 10,000 rules, in force after ${(policiesInForceMs / 1000).toFixed(1)} s`, ...milliseconds(policies)],
          ['reload of the SVID', ...milliseconds(svid)],
        ],
      },
    ],
  }
}

function milliseconds({ work, delay }: LoopReport): string[] {
  return [work.toFixed(1), delay.toFixed(1)]
}

async function ca(bench: Bench): Promise<CaseReport> {
  const { folder } = setup(bench)
  const result = await measureAuthority({ program: bench.program, folder, quick: bench.quick })
  const { attested, renewed, reconnected, connectionFloor, rates, readyMs, rssReady, rssFilled, opensslMicros, goMicros } = result
  const kinds = ['attested by join token', 'renewed', 'renewed on a new mTLS connection']
  const timesOpenssl = (micros: number): string => (opensslMicros === undefined ? '–' : (micros / opensslMicros).toFixed(1))
  // What fails there takes nothing from what was measured of ours.
  const stepCa = await measureStepCa({ folder: join(folder, 'step-ca'), quick: bench.quick }).catch((error: unknown) => String(error))
  return {
    rows: [
      judgeLimits(
        'CA, CPU per certificate with durable record: attested · renewed · renewed on a new connection',
        [
          { value: attested, atMost: 400 },
          { value: renewed, atMost: 280 },
          { value: reconnected, atMost: 1000 },
        ],
        'µs',
      ),
      judgeLimits(
        'CA, RSS ready · with 100,000 issuances on record',
        [
          { value: rssReady, atMost: 90 },
          { value: rssFilled, atMost: 90 },
        ],
        'MB',
      ),
      judgeLimits('CA, ready', [{ value: readyMs, atMost: 300 }], 'ms'),
    ],
    details: [
      {
        title: 'Certificates of the authority',
        columns: ['8 connections', 'CPU µs a certificate, median', '× openssl', 'certificates a second'],
        rows: [
          ...[attested, renewed, reconnected].map((micros, kind) => [
            kinds[kind] ?? '',
            micros.toFixed(0),
            timesOpenssl(micros),
            (rates[kind] ?? 0).toFixed(0),
          ]),
          [
            'Node alone: a new mTLS connection and an answer',
            connectionFloor.toFixed(0),
            timesOpenssl(connectionFloor),
            (rates[3] ?? 0).toFixed(0),
          ],
          ['openssl speed: one signature and one verification', opensslMicros?.toFixed(0) ?? '–', '1.0', '–'],
          [
            'Go crypto/x509, in memory: request verified, certificate signed',
            goMicros?.toFixed(0) ?? '–',
            goMicros === undefined ? '–' : timesOpenssl(goMicros),
            '–',
          ],
          ...stepCaRows(stepCa, kinds, timesOpenssl),
        ],
      },
    ],
  }
}

function stepCaRows(
  result: StepCaResult | string,
  kinds: readonly string[],
  timesOpenssl: (micros: number) => string,
): readonly (readonly string[])[] {
  if (typeof result === 'string') return [[result, '–', '–', '–']]
  const { micros, rates, rssReady, rssAfter, issued } = result
  const memory = `step-ca ${STEP_CA_VERSION}, RSS ready · after ${issued.toLocaleString('en')} issuances: ${rssReady.toFixed(0)} · ${rssAfter.toFixed(0)} MB`
  return [
    ...micros.map((each, kind) => [
      `step-ca ${STEP_CA_VERSION}, badger: ${kinds[kind] ?? ''}`,
      each.toFixed(0),
      timesOpenssl(each),
      (rates[kind] ?? 0).toFixed(0),
    ]),
    [memory, '–', '–', '–'],
  ]
}
