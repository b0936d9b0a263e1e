/** Time on the request path for a decision record, its metrics and its place in the ring. Run alone: `node bench/micro/record.ts`. */
import { closeSync, openSync } from 'node:fs'
import { createDecisionLog } from '#audit/decision-log'
import { createRing } from '#audit/ring'
import { systemClock } from '#base/clock'
import { createLog } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'
import { exchange, origin, refusal, requestFacts, token } from '../../test/support/events.ts'

const target = openSync('/dev/null', 'w')
const log = createLog({ name: 'bench', clock: systemClock, random: Math.random, level: 'silent' })
const decisions = createDecisionLog({ target, clock: systemClock, random: Math.random, log, capacityBytes: 64 * 1024 * 1024 })
const refusedOnly = createDecisionLog({ target, clock: systemClock, random: Math.random, log, decisions: 'refused' })
const ring = createRing()
const metrics = createMetrics()
const listener = metrics.listener('0.0.0.0:7443', 'http1')
const peer = metrics.peer('shop', 'cart')

// As many connections as a busy sidecar has; events are new objects each, as in the data plane.
const origins = Array.from({ length: 100 }, () => ({ ...origin }))
const facts = requestFacts()
let turn = 0
function next(): ReturnType<typeof exchange> {
  turn++
  return exchange({ origin: origins[turn % 100] ?? origin, time: 1_795_545_667_000 + (turn >> 3), bytesOut: turn & 0xffff, facts })
}
const events = Array.from({ length: 4096 }, next)
const withToken = events.map((event) => ({ ...event, token }))
const refusals = events.map(({ origin, time }) => refusal({ origin, time, detail: 'rule #2' }))
const unicode = events.map((event) => ({ ...event, path: '/caf\u00c3\u00a9/"x"' }))

const ROUNDS = 2000
const WARM_UP = 200

/**
 * CPU of this thread in the calls themselves: building, queueing, and handing batches over. Batches are awaited outside of it.
 * A mean: the system counts CPU of threads in ticks of milliseconds, so single rounds say nothing.
 */
async function perEvent(work: (index: number) => void, settle: () => Promise<void>): Promise<string> {
  let total = 0
  for (let round = 0; round < ROUNDS + WARM_UP; round++) {
    const before = process.threadCpuUsage()
    for (let index = 0; index < 1000; index++) work((round * 1000 + index) & 4095)
    const { user, system } = process.threadCpuUsage(before)
    await settle()
    if (round >= WARM_UP) total += user + system
  }
  return `${(total / ROUNDS).toFixed(0).padStart(6)} ns`
}

const settleNothing = async (): Promise<void> => undefined
const pick = <T>(list: readonly T[], index: number): T => list[index] as T

console.log(
  await perEvent(
    (i) => decisions.exchange(pick(events, i)),
    () => decisions.flush(),
  ),
  ' record of an allowed request',
)
console.log(
  await perEvent(
    (i) => decisions.exchange(pick(withToken, i)),
    () => decisions.flush(),
  ),
  ' the same with a token',
)
console.log(
  await perEvent(
    (i) => decisions.exchange(pick(refusals, i)),
    () => decisions.flush(),
  ),
  ' record of a refusal',
)
console.log(
  await perEvent(
    (i) => decisions.exchange(pick(unicode, i)),
    () => decisions.flush(),
  ),
  ' a path that must be escaped',
)
console.log(await perEvent((i) => refusedOnly.exchange(pick(events, i)), settleNothing), ' left out by `decisions: refused`')
console.log(await perEvent((i) => ring.add(pick(events, i)), settleNothing), ' ring')
console.log(
  await perEvent(() => listener.request('allow', undefined, 0.0012, 0.000_000_8), settleNothing),
  ' metrics of an allowed request',
)
console.log(
  await perEvent(() => listener.request('deny', 'ERR_POLICY_DENIED', 0.0003, 0.000_000_8), settleNothing),
  ' metrics of a refusal',
)
console.log(await perEvent(() => peer.request('allow'), settleNothing), ' metrics of a peer')

const cpu = process.cpuUsage()
const BATCHES = 1000
for (let round = 0; round < BATCHES; round++) {
  for (let index = 0; index < 100; index++) decisions.exchange(pick(events, (round * 100 + index) & 4095))
  await decisions.flush()
}
const { user, system } = process.cpuUsage(cpu)
console.log(
  `${(((user + system) * 1000) / (BATCHES * 100)).toFixed(0).padStart(6)} ns  CPU of the process per record, batches of 100, all threads`,
)
metrics.close()
closeSync(target)
