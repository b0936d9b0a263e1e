/** How long 100,000 live connections, each with a request under way, hold up a turn when all are decided again. Run alone. */
import process from 'node:process'
import { systemClock } from '#base/clock'
import type { Snapshot } from '#config/snapshot'
import { createPolicyCompiler } from '#policy/compile'
import type { RequestFacts } from '#policy/facts'
import { readPolicyDocument } from '#policy/read-document'
import type { InboundListenerState } from '#proxy/inbound-state'
import { createRegistry, type LiveConnection } from '#proxy/registry'
import { type Decidable, redecide } from '#proxy/request-path'
import { located, peer, request } from '../../test/support/policies.ts'

const CONNECTIONS = 100_000
const RULES = 10_000

const rules = Array.from({ length: RULES }, (_, index) => ({
  name: `rule-${index}`,
  allow: {
    and: [
      { spiffe_id: `spiffe://example.org/ns/team${index % 97}/sa/service${index % 1013}` },
      { http_method: { in: ['GET', 'HEAD', 'POST'] } },
      { http_path: { starts_with: `/api/v${index % 7}/things${index}/` } },
    ],
  },
}))
const { document } = readPolicyDocument(located(rules), { defaultName: 'bench' })
if (document === undefined) throw new Error('the rules are wrong')
const compiler = createPolicyCompiler({ service: 'catalog', labels: {}, ports: [8080] })
compiler.add(document)
const listener = { settings: { policy: compiler.finish(1) } } as unknown as InboundListenerState

const peers = Array.from({ length: RULES }, (_, index) => peer(`spiffe://example.org/ns/team${index % 97}/sa/service${index % 1013}`))

/** As much of a connection as being decided again takes. */
function connection(index: number): LiveConnection {
  const rule = index % RULES
  const facts: RequestFacts = request({ peer: peers[rule], path: `/api/v${rule % 7}/things${rule}/1` })
  const exchange: Pick<Decidable, 'facts' | 'decision'> = { facts, decision: undefined }
  const again = (now: number): void => {
    if (redecide(listener, exchange, now) !== undefined) throw new Error('not allowed any more')
  }
  return {
    tick: (now) => {
      if (exchange.decision !== undefined && now >= exchange.decision.validUntil) again(now)
    },
    revalidate: (_, now) => again(now),
    drain() {},
    cutAtDrainEnd() {},
    describe: () => ({
      listener: '',
      direction: 'inbound',
      protocol: '',
      peer: '',
      sourceIp: '',
      openedAt: 0,
      notAfter: 0,
      exchange: undefined,
    }),
  }
}

/** CPU of this thread: what the other processes of the machine do is no matter here. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

const registry = createRegistry(0, systemClock)
for (let index = 0; index < CONNECTIONS; index++) registry.add(connection(index))

async function measure(name: string, pass: () => Promise<void>): Promise<void> {
  const totals: number[] = []
  let longest = 0
  for (let round = 0; round < 12; round++) {
    let last = cpuMs()
    let ended = false
    let total = 0
    const watch = (): void => {
      const now = cpuMs()
      total += now - last
      if (round > 1) longest = Math.max(longest, now - last)
      last = now
      if (!ended) setImmediate(watch)
    }
    setImmediate(watch)
    await pass()
    ended = true
    await new Promise((resolve) => void setImmediate(resolve))
    if (round > 1) totals.push(total)
  }
  const median = totals.toSorted((a, b) => a - b)[Math.floor(totals.length / 2)] ?? 0
  print((median * 1e6) / CONNECTIONS, `a connection ${name}`)
  print(median * 1e6, `all of them ${name}, in turns`)
  print(longest * 1e6, `the longest turn of ${name}`)
}

/** @param nanoseconds of processor time */
function print(nanoseconds: number, what: string): void {
  console.log(`${nanoseconds.toFixed(0).padStart(10)} ns  ${what}`)
}

await measure('decided again', () => registry.revalidate({} as Snapshot, 0))
await measure('looked at by the tick', () => registry.tick(1))
