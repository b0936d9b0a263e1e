/** HTTP/2 and gRPC: CPU per request, 8 connections with 8 streams each; all contenders speak HTTP/2 on both sides. */
import type { Running } from '../contenders/contender.ts'
import { postern } from '../contenders/postern.ts'
import { GRPC_PATH, REQUEST_PATH, writePayloads } from '../environment/upstream.ts'
import { type Call, createHttp2Load } from '../load/h2load.ts'
import { type CaseReport, judgeRatios } from '../report.ts'
import { type Bench, byName, compareCpu, cpuDetail, FEW_RULES, peers, setup } from './compare.ts'

const CONNECTIONS = 8
const STREAMS = 8
const BUDGETS = [
  { peer: 'nginx', atMost: 0.65 },
  { peer: 'Envoy', atMost: 0.65 },
]

export async function http2(bench: Bench): Promise<CaseReport> {
  await using stack = new AsyncDisposableStack()
  const ours = postern({ program: bench.program, rules: FEW_RULES })
  const running: Running[] = []
  for (const contender of [ours, ...peers(bench)]) running.push(stack.use(await contender.start(setup(bench, 'http2'))))
  const { during } = createHttp2Load(bench.certificates, bench.shim)
  const get: Call = { path: REQUEST_PATH, http2: true, streams: STREAMS }
  const unary: Call = {
    path: GRPC_PATH,
    http2: true,
    streams: STREAMS,
    body: writePayloads(bench.folder).message,
    headers: ['content-type: application/grpc', 'te: trailers'],
  }
  const requests = await compareCpu(bench, running, during(get), { connections: CONNECTIONS })
  const calls = await compareCpu(bench, running, during(unary), { connections: CONNECTIONS })
  const judged = (what: string, results: typeof requests): CaseReport['rows'][number] =>
    judgeRatios(what, byName(results).get(ours.name) ?? Number.NaN, byName(results), BUDGETS, 'µs')
  return {
    rows: [judged('HTTP/2 8 × 8 1 KB, CPU per request', requests), judged('gRPC unary 8 × 8, CPU per call', calls)],
    details: [
      cpuDetail('HTTP/2, 8 connections, 8 streams each', 'request', requests),
      cpuDetail('gRPC, unary calls, 8 connections, 8 at a time on each', 'call', calls),
    ],
  }
}
