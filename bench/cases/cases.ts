/** The cases by name: each measures, judges against its budgets, and gives the figures behind. Another case is another entry. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Contender, Running, Setup } from '../contenders/contender.ts'
import { envoy } from '../contenders/envoy.ts'
import { haproxy } from '../contenders/haproxy.ts'
import { nginx } from '../contenders/nginx.ts'
import { postern } from '../contenders/postern.ts'
import { type Certificates, makeCertificates } from '../environment/certificates.ts'
import type { Upstream } from '../environment/upstream.ts'
import { createLoad } from '../load/wrk.ts'
import { type CaseReport, type Detail, judgeLimits, judgeRatios, notMeasured, type Row } from '../report.ts'
import { measureAuthority } from './ca.ts'
import { type CpuResult, measureCpu } from './cpu.ts'
import type { LoopReport } from './loop-monitor.ts'
import { measureMemory } from './memory.ts'
import { measureMicro } from './micro.ts'
import { measureReady } from './ready.ts'
import { measureReload } from './reload.ts'

export interface Bench {
  /** Bundle of Postern. */
  readonly program: string
  readonly quick: boolean
  /** Scratch. */
  readonly folder: string
  readonly certificates: Certificates
  readonly upstream: Upstream
  /** The library preloaded into wrk. */
  readonly shim: string
  /** Undefined where it could not be had. */
  readonly envoy: string | undefined
}

const FEW_RULES = 10
const MANY_RULES = 10_000

export const CASES: Readonly<Record<string, (bench: Bench) => Promise<CaseReport>>> = {
  http1,
  handshake,
  decision,
  record,
  token,
  rss,
  ready,
  reload,
  ca,
}

let folders = 0
/** A folder of its own for every start. */
function setup({ folder, certificates, upstream }: Bench): Setup {
  const own = join(folder, `contender-${++folders}`)
  mkdirSync(own)
  return { folder: own, certificates, upstreamPort: upstream.port }
}

function peers(bench: Bench): Contender[] {
  return [nginx(), haproxy(), ...(bench.envoy === undefined ? [] : [envoy(bench.envoy)])]
}

async function compareCpu(bench: Bench, contenders: readonly Contender[], connections: number, closeEach: boolean): Promise<CpuResult[]> {
  await using stack = new AsyncDisposableStack()
  const running: Running[] = []
  for (const contender of contenders) running.push(stack.use(await contender.start(setup(bench))))
  // Awaited here: on return the contenders are ended.
  return await measureCpu(running, {
    load: createLoad(bench.certificates, bench.shim),
    upstream: bench.upstream,
    rounds: bench.quick ? 3 : 9,
    seconds: bench.quick ? 1 : 3,
    connections,
    closeEach,
    patience: bench.quick ? 0 : 240,
  })
}

function cpuDetail(title: string, unit: string, results: readonly CpuResult[]): Detail {
  return {
    title,
    columns: ['', `CPU µs a ${unit}, median`, 'lowest – highest', `${unit}s a second`],
    rows: results.map(({ name, micros, lowest, highest, rate }) => [
      name,
      micros.toFixed(1),
      `${lowest.toFixed(1)} – ${highest.toFixed(1)}`,
      rate.toFixed(0),
    ]),
  }
}

function byName(results: readonly CpuResult[]): Map<string, number> {
  return new Map(results.map(({ name, micros }) => [name, micros]))
}

async function http1(bench: Bench): Promise<CaseReport> {
  const few = postern({ program: bench.program, rules: FEW_RULES })
  const many = postern({ program: bench.program, rules: MANY_RULES })
  const results = await compareCpu(bench, [few, many, ...peers(bench)], 16, false)
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
  const ours = postern({ program: bench.program, rules: FEW_RULES })
  const results = await compareCpu(bench, [ours, ...peers(bench)], 8, true)
  const micros = byName(results)
  return {
    rows: [
      judgeRatios(
        'full mutual handshake with one request, CPU',
        micros.get(ours.name) ?? Number.NaN,
        micros,
        [{ peer: 'nginx', atMost: 0.75 }],
        'µs',
      ),
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

/** A row from a program in bench/micro: for each limit, in µs, the line whose name matches. */
function micro(program: string, what: string, limits: readonly { readonly match: RegExp; readonly atMost: number }[]): CaseReport {
  const results = measureMicro([program])
  const figures = limits.map(({ match, atMost }) => ({
    value: (results.find(({ name }) => match.test(name))?.nanoseconds ?? Number.NaN) / 1000,
    atMost,
  }))
  const budget = `≤ ${limits.map(({ atMost }) => atMost).join(' · ')} µs`
  const row: Row = figures.some(({ value }) => Number.isNaN(value))
    ? notMeasured(what, budget, `bench/micro/${program}.ts does not print it`)
    : judgeLimits(what, figures, 'µs')
  const details: Detail[] = [
    { title: `In process: ${program}`, columns: ['', 'ns'], rows: results.map(({ name, nanoseconds }) => [name, String(nanoseconds)]) },
  ]
  return { rows: [row], details: results.length === 0 ? [] : details }
}

async function rss(bench: Bench): Promise<CaseReport> {
  const connections = bench.quick ? 200 : 1000
  const ours = postern({ program: bench.program, rules: FEW_RULES })
  const results = []
  for (const contender of [ours, ...peers(bench)])
    results.push(await measureMemory(contender, setup(bench), connections, bench.quick ? 1000 : 12_000))
  const mine = results.find(({ name }) => name === ours.name)
  return {
    rows: [
      judgeLimits(
        `RSS ready, and with ${connections.toLocaleString('en')} idle mTLS connections`,
        [
          { value: mine?.ready ?? Number.NaN, atMost: 75 },
          { value: mine?.loaded ?? Number.NaN, atMost: 130 },
        ],
        'MB',
      ),
    ],
    details: [
      {
        title: 'Resident memory',
        columns: ['', 'ready, MB', `with ${connections.toLocaleString('en')} idle connections, MB`],
        rows: results.map(({ name, ready, loaded }) => [name, ready.toFixed(0), loaded.toFixed(0)]),
      },
    ],
  }
}

async function ready(bench: Bench): Promise<CaseReport> {
  const ours = postern({ program: bench.program, rules: FEW_RULES })
  const results = []
  for (const contender of [ours, ...peers(bench)]) results.push(await measureReady(contender, setup(bench), bench.quick ? 3 : 9))
  const mine = results.find(({ name }) => name === ours.name)
  return {
    rows: [judgeLimits('ready, identity from files', [{ value: mine?.milliseconds ?? Number.NaN, atMost: 250 }], 'ms')],
    details: [
      {
        title: 'From start to ready',
        columns: ['', 'ms, median'],
        rows: results.map(({ name, milliseconds }) => [name, milliseconds.toFixed(0)]),
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
    upstreamPort: bench.upstream.port,
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
  const { attested, renewed, reconnected, rates, readyMs, rssReady, rssFilled, opensslMicros } = result
  const kinds = ['attested by join token', 'renewed', 'renewed on a new mTLS connection']
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
        columns: ['8 connections', 'CPU µs a certificate, median', 'certificates a second'],
        rows: [
          ...[attested, renewed, reconnected].map((micros, kind) => [kinds[kind] ?? '', micros.toFixed(0), (rates[kind] ?? 0).toFixed(0)]),
          ['openssl speed: one signature and one verification', opensslMicros?.toFixed(0) ?? '–', '–'],
        ],
      },
    ],
  }
}
