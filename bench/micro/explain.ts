/** How long an explanation over many rules holds up a turn of the event loop, when it is asked for while traffic flows. Run alone. */
import process from 'node:process'
import { systemClock } from '#base/clock'
import { explainInSteps } from '#policy/explain'
import { readPolicyDocument } from '#policy/read-document'
import { inTurns } from '#proxy/admin-sources'
import { located, peer, request } from '../../test/support/policies.ts'

const RULES = 10_000
const SCOPE = { service: 'catalog', labels: {}, ports: [8080] }
const HOURS = { time_of_day: { timezone: 'Europe/Berlin', after: '8:00', before: '20:00' } }

/** @param timed every rule holds in office hours alone */
function rulesOf(timed: boolean): unknown[] {
  return Array.from({ length: RULES }, (_, index) => ({
    name: `rule-${index}`,
    [index % 50 === 49 ? 'deny' : 'allow']: {
      and: [
        { spiffe_id: `spiffe://example.org/ns/team${index % 97}/sa/service${index % 1013}` },
        { http_method: { in: ['GET', 'HEAD', 'POST'] } },
        { http_path: { starts_with: timed ? '/api/' : `/api/things${index}/` } },
        ...(timed ? [HOURS] : []),
      ],
    },
  }))
}

/** CPU of this thread: what the other processes of the machine do is no matter here. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

for (const timed of [false, true]) {
  const { document } = readPolicyDocument(located(rulesOf(timed)), { defaultName: 'bench' })
  if (document === undefined) throw new Error('the rules are wrong')
  const facts = request({ peer: peer('spiffe://example.org/ns/team1/sa/service1'), path: '/api/none' })
  const turns: number[] = []
  let last = cpuMs()
  let ended = false
  const watch = (): void => {
    const now = cpuMs()
    turns.push(now - last)
    last = now
    if (!ended) setImmediate(watch)
  }
  for (let round = 0; round < 20; round++) {
    if (round === 5) turns.length = 0
    ended = false
    last = cpuMs()
    setImmediate(watch)
    await inTurns(explainInSteps([document], SCOPE, facts, Date.UTC(2026, 5, 15, 12), 50), systemClock)
    ended = true
    await new Promise((resolve) => void setImmediate(resolve))
  }
  const total = turns.reduce((sum, ms) => sum + ms, 0) / 15
  console.log(
    `${timed ? 'timed' : 'plain'}: ${(total * 1000).toFixed(0)} µs a request explained, over ${RULES} rules; the longest turn ${Math.max(...turns).toFixed(1)} ms`,
  )
}
