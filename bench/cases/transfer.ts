/** Large bodies: CPU per MB of downloads and uploads over HTTP/1.1 and HTTP/2, and of a download through a proxy of TCP. */
import type { Running } from '../contenders/contender.ts'
import { nginxHasStream } from '../contenders/nginx.ts'
import { postern } from '../contenders/postern.ts'
import { DOWNLOAD_PATH, LARGE_BYTES, type Protocol, UPLOAD_PATH, writePayloads } from '../environment/upstream.ts'
import { type Call, createHttp2Load, type Http2Load } from '../load/h2load.ts'
import { median } from '../median.ts'
import { type CaseReport, unjudged } from '../report.ts'
import { type Bench, FEW_RULES, peers, setup } from './compare.ts'

const CONNECTIONS = 4

interface Transfer {
  readonly what: string
  readonly protocol: Protocol
  readonly upload: boolean
}

const TRANSFERS: readonly Transfer[] = [
  { what: 'HTTP/1.1 download', protocol: 'http1', upload: false },
  { what: 'HTTP/1.1 upload', protocol: 'http1', upload: true },
  { what: 'HTTP/2 download', protocol: 'http2', upload: false },
  { what: 'HTTP/2 upload', protocol: 'http2', upload: true },
  { what: 'tcp download', protocol: 'tcp', upload: false },
]

export async function transfer(bench: Bench): Promise<CaseReport> {
  const ours = postern({ program: bench.program, rules: FEW_RULES })
  const load = createHttp2Load(bench.certificates, bench.shim)
  const large = writePayloads(bench.folder).large
  const found: { readonly what: string; readonly micros: ReadonlyMap<string, number> }[] = []
  for (const protocol of ['http1', 'http2', 'tcp'] as const) {
    await using stack = new AsyncDisposableStack()
    const running: Running[] = []
    for (const contender of [ours, ...peers(bench)]) {
      if (protocol === 'tcp' && contender.name === 'nginx' && !nginxHasStream()) continue
      running.push(stack.use(await contender.start(setup(bench, protocol))))
    }
    for (const { what, upload } of TRANSFERS.filter((each) => each.protocol === protocol)) {
      const call: Call = {
        path: upload ? UPLOAD_PATH : DOWNLOAD_PATH,
        http2: protocol === 'http2',
        streams: 1,
        ...(upload ? { body: large } : {}),
      }
      found.push({ what, micros: await measureTransfer(running, load, call, bench.quick) })
    }
  }
  const names = [ours, ...peers(bench)].map(({ name }) => name)
  return {
    rows: found.map(({ what, micros }) => {
      const others = new Map([...micros].filter(([name]) => name !== ours.name))
      return unjudged(`${what}, CPU per MB`, micros.get(ours.name) ?? Number.NaN, others, 'µs')
    }),
    details: [
      {
        title: `Bodies of ${LARGE_BYTES / 1024 / 1024} MiB, ${CONNECTIONS} at a time: CPU µs a MB, median`,
        columns: ['', ...names],
        rows: found.map(({ what, micros }) => [what, ...names.map((name) => micros.get(name)?.toFixed(0) ?? '–')]),
      },
    ],
  }
}

/** A number of bodies rather than a time, so that what was moved is known to the byte. */
async function measureTransfer(running: readonly Running[], load: Http2Load, call: Call, quick: boolean): Promise<Map<string, number>> {
  const requests = quick ? 8 : 32
  const turns = new Map<string, number[]>(running.map(({ name }) => [name, []]))
  // The first round warms up.
  for (let round = -1; round < (quick ? 1 : 5); round++) {
    for (const contender of running) {
      const before = contender.cpuSeconds()
      const { requests: done, failures } = await load.times(call, contender.port, round < 0 ? CONNECTIONS : requests, CONNECTIONS)
      const spent = contender.cpuSeconds() - before
      if (failures > 0) throw new Error(`${contender.name}: ${failures} transfers failed; nothing comparable was measured.`)
      if (round >= 0) turns.get(contender.name)?.push((spent / done / (LARGE_BYTES / 1e6)) * 1e6)
    }
  }
  return new Map([...turns].map(([name, each]) => [name, median(each)]))
}
