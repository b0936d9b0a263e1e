/**
 * Random and mutated policy documents: reading, lint and the runner of tests answer, with every complaint in its place; and what is
 * read decides compiled as it explains, for any request.
 */
import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { formatProblem, type LocatedValue } from '#base/located'
import { readYamlDocuments } from '#config/yaml'
import { decide } from '#policy/decide'
import type { PolicyDocument } from '#policy/document'
import { explain } from '#policy/explain'
import type { RequestFacts } from '#policy/facts'
import { formatExplanation } from '#policy/format-explanation'
import { lintPolicies } from '#policy/lint'
import { protocolProblems } from '#policy/protocol'
import { readPolicyDocument } from '#policy/read-document'
import { readRequest } from '#policy/request'
import { runPolicyTests } from '#policy/run-tests'
import { compile, located, SCOPE } from '../support/policies.ts'
import { documentValue, requestFacts, time } from '../support/policy-arbitraries.ts'

/** Words of the language, and what breaks languages. */
const WORDS: readonly unknown[] = [
  ...'allow deny and or not nor name spec rules tests target selector mode request expect is in not_in starts_with ends_with'.split(' '),
  ...'contains matches has exclude present timezone after before http_path spiffe_id claim/a claim/ header/x header/ query/q'.split(' '),
  ...'device source_ip time_of_day date port __proto__ constructor toString / /a/{x}/{**} { } % %zz ::/0 10.0.0.1/8 9:00 25:00'.split(' '),
  ...'limit requests burst per none 5/m peer all mon-fri mon- * 2026-01-01T00:00:00Z UTC Mars/Olympus spiffe://example.org/ns/a/sa/b é \ud800 \0 \u202e'.split(
    ' ',
  ),
  '',
  'x'.repeat(5000),
  0,
  -1,
  1.5,
  8080,
  65_536,
  2 ** 53,
  NaN,
  Infinity,
  true,
  false,
  null,
  [],
  {},
  [[]],
  [{}],
  { and: [] },
]

/** Whole numbers below a limit. */
type Random = (limit: number) => number

/** xorshift32: repeatable, and good enough to choose with. */
function createRandom(seed: number): Random {
  let state = (seed ^ 0x9e3779b9) | 1
  return (limit) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

function pick<T>(random: Random, values: readonly T[]): T | undefined {
  return values[random(values.length)]
}

/** A copy with one place changed: a value or key replaced, doubled, lost, or buried deeper. */
function mutate(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random(6) === 0) return other(value, random)
  if (Array.isArray(value)) {
    const items = [...value]
    const index = random(items.length + 1)
    const choice = random(4)
    if (choice === 0) items.splice(index, 1)
    else if (choice === 1) items.splice(index, 0, index < items.length ? items[index] : pick(random, WORDS))
    else if (index < items.length) items[index] = mutate(items[index], random)
    return items
  }
  const entries = Object.entries(value)
  const index = random(entries.length + 1)
  const [key, old] = entries[index] ?? [String(pick(random, WORDS)), pick(random, WORDS)]
  const choice = random(5)
  if (choice === 0) entries.splice(index, 1)
  else if (choice === 1) entries.splice(index, 1, [String(pick(random, WORDS)), old])
  else entries.splice(index, 1, [key, mutate(old, random)])
  return Object.fromEntries(entries)
}

function other(value: unknown, random: Random): unknown {
  const choice = random(5)
  if (choice === 0) return [value, value]
  if (choice === 1) return { [String(pick(random, WORDS))]: value }
  if (choice === 2 && typeof value === 'string') return value.slice(random(value.length + 1)) + String(pick(random, WORDS))
  return pick(random, WORDS)
}

/** What mutated YAML text is made of besides. */
const SCRAPS = ['\n', '  ', '- ', ': ', '{', '}', '[', ']', ',', '"', "'", '#', '&a', '*a', '!!str', '|', '---\n', '\t', '\0', 'é']

function mutateText(text: string, random: Random): string {
  const at = random(text.length + 1)
  const length = random(4)
  return text.slice(0, at) + (random(3) === 0 ? '' : (pick(random, SCRAPS) ?? '')) + text.slice(at + length)
}

function read(value: LocatedValue): PolicyDocument | undefined {
  const { document, problems } = readPolicyDocument(value, { defaultName: 'fuzz' })
  for (const problem of problems) assert.match(formatProblem(problem), /^policy\.yaml:\d+:\d+: /)
  assert.equal(
    document === undefined,
    problems.some(({ severity }) => severity === 'error'),
  )
  return document
}

function check(documents: readonly PolicyDocument[], requests: readonly RequestFacts[], now: number): void {
  const policy = compile(documents)
  lintPolicies(documents, now)
  runPolicyTests(documents, now)
  for (const document of documents) {
    protocolProblems(document, [
      { ...SCOPE, name: 'l', protocol: 'tcp', ignoreCase: false },
      { ...SCOPE, name: 'h', protocol: 'both', ignoreCase: true },
    ])
  }
  for (const facts of requests) {
    const decision = decide(policy, facts, now)
    const explanation = explain(documents, SCOPE, facts, now)
    assert.deepEqual({ ...explanation.decision, validUntil: 0, generation: 0 }, { ...decision, validUntil: 0, generation: 0 })
    assert.ok(decision.validUntil > now)
    assert.doesNotMatch(formatExplanation(explanation, false).replaceAll('\n', ''), /\p{Cc}/u)
  }
}

const samples = fc.tuple(documentValue, fc.array(requestFacts, { minLength: 3, maxLength: 3 }), time)
const BATCH = 50

/** The same seed tries the same documents and requests in the same order. */
export async function fuzz(seconds: number, seed: number): Promise<{ runs: number }> {
  const random = createRandom(seed)
  const end = performance.now() + seconds * 1000
  let runs = 0
  for (let batch = 0; batch === 0 || performance.now() < end; batch++) {
    for (const [value, requests, now] of fc.sample(samples, { seed: (seed + batch) | 0, numRuns: BATCH })) {
      attempt(value, requests, now, random)
      runs++
    }
  }
  return { runs }
}

function attempt(original: unknown, requests: readonly RequestFacts[], now: number, random: Random): void {
  let value = original
  for (let change = random(4); change > 0; change--) value = mutate(value, random)
  let text = JSON.stringify(value, undefined, random(3)) ?? 'null'
  for (let change = random(3); change > 0; change--) text = mutateText(text, random)
  try {
    const values = [located(value), ...readYamlDocuments(text, 'policy.yaml').documents]
    check(
      values.map(read).filter((document) => document !== undefined),
      requests,
      now,
    )
    const described = mutate(
      { peer: 'spiffe://a/b', path: '/x?q', token: { iss: 'i', sub: 's' }, headers: { a: 'b' }, labels: {}, at: 'x', port: 1 },
      random,
    )
    if (typeof described === 'object' && described !== null) readRequest({ ...described }, now)
  } catch (error) {
    throw new Error(`${JSON.stringify(value)}\n${text}\n${JSON.stringify(requests)} at ${now}`, { cause: error })
  }
}
