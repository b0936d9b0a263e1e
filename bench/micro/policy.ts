/** What a decision costs at 10 and at 10,000 rules, and how long compiling holds up a turn. Prints medians; run alone. */
import { createPolicyCompiler } from '#policy/compile'
import { decide } from '#policy/decide'
import { documentParts, type PolicyDocument } from '#policy/document'
import type { RequestFacts } from '#policy/facts'
import { readPolicyDocument } from '#policy/read-document'
import { located, peer, request } from '../../test/support/policies.ts'

const SCOPE = { service: 'catalog', labels: {}, ports: [8080] }
const METHODS = ['GET', 'HEAD', 'POST']

/** As people write them: each rule names a caller or its namespace, methods and a path. */
function typicalRules(count: number): unknown[] {
  return Array.from({ length: count }, (_, index) => {
    const who =
      index % 4 === 3
        ? { namespace: `team${index % 97}` }
        : { spiffe_id: `spiffe://example.org/ns/team${index % 97}/sa/service${index % 1013}` }
    const path =
      index % 3 === 0 ? { matches: `/api/v${index % 7}/things${index}/{id}` } : { starts_with: `/api/v${index % 7}/things${index}/` }
    return {
      name: `rule-${index}`,
      [index % 50 === 49 ? 'deny' : 'allow']: { and: [who, { http_method: { in: METHODS } }, { http_path: path }] },
    }
  })
}

/** Every tenth request fits no rule. */
function typicalRequests(count: number): RequestFacts[] {
  return Array.from({ length: 512 }, (_, turn) => {
    const index = (turn * 7919) % count
    const id = `spiffe://example.org/ns/team${index % 97}/sa/service${index % 1013}`
    const suffix = turn % 10 === 0 ? 'none' : `things${index}/1`
    return request({ peer: peer(id), method: METHODS[turn % 3] ?? 'GET', path: `/api/v${index % 7}/${suffix}` })
  })
}

function read(rules: readonly unknown[]): PolicyDocument {
  const { document, problems } = readPolicyDocument(located(rules), { defaultName: 'bench' })
  if (document === undefined) throw new Error(JSON.stringify(problems[0]))
  return document
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function measure(count: number): void {
  const document = read(typicalRules(count))
  const compiler = createPolicyCompiler(SCOPE)
  const turns: number[] = []
  const timed = <T>(call: () => T): T => {
    const start = performance.now()
    const result = call()
    turns.push(performance.now() - start)
    return result
  }
  for (const part of documentParts(document, 200)) compiler.add(structuredClone(part))
  while (timed(() => compiler.advance())) continue
  const policy = timed(() => compiler.finish(1))
  const requests = typicalRequests(count)
  let allowed = 0
  const rounds = Array.from({ length: 400 }, () => {
    const start = performance.now()
    for (const facts of requests) if (decide(policy, facts, 0).allow) allowed++
    return ((performance.now() - start) * 1000) / requests.length
  })
  const share = Math.round((100 * allowed) / (rounds.length * requests.length))
  const slice = `compiled in ${turns.length} slices, the longest ${Math.max(...turns).toFixed(2)} ms, median ${median(turns).toFixed(2)} ms`
  console.log(`${count} rules: ${median(rounds).toFixed(3)} µs a decision (${share} % allowed); ${slice}`)
}

for (const count of [10, 100, 1000, 10_000]) measure(count)
