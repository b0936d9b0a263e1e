/** Runs the `tests` that policy documents hold. */
import type { Location } from '#base/located'
import { locationIn, type PolicyDocument, type PolicyTest } from './document.ts'
import { explain, type Explanation } from './explain.ts'
import { readRequest } from './request.ts'
import { scopeOfTest } from './scope.ts'

export interface PolicyTestResult {
  readonly policy: string
  /** Its name, or what it asks in short. */
  readonly name: string
  readonly at: Location
  readonly passed: boolean
  /** What came out, in words. */
  readonly outcome: string
  /** Undefined where the request did not reach policy. */
  readonly explanation: Explanation | undefined
}

/**
 * Each test is decided by all documents given (those of its file) as if every one were enforced. What a test does not say of service,
 * port and labels is as its own document's target.
 * @param now for tests without `at`, ms since the epoch
 */
export function runPolicyTests(documents: readonly PolicyDocument[], now: number): PolicyTestResult[] {
  const enforced = documents.map((document): PolicyDocument => ({ ...document, mode: 'enforce' }))
  return enforced.flatMap((document) => document.tests.map((test) => runTest(document, test, enforced, now)))
}

function runTest(document: PolicyDocument, test: PolicyTest, documents: readonly PolicyDocument[], now: number): PolicyTestResult {
  const result = { policy: document.name, name: test.name ?? inShort(test), at: locationIn(document, test) }
  const { request, faults } = readRequest(test.request, now)
  if (request === undefined) return { ...result, passed: false, outcome: faults.join(' '), explanation: undefined }
  const { expect, because } = test
  if (request.refused !== undefined) {
    const { reason } = request.refused
    const passed = expect === 'deny' && (because === undefined || because === reason)
    return { ...result, passed, outcome: `refused before policy is asked (${reason})`, explanation: undefined }
  }
  const scope = scopeOfTest(document, request)
  const explanation = explain(documents, scope, { ...request.facts, port: scope.ports[0] ?? 0 }, request.at ?? now)
  const { allow, rule, reason } = explanation.decision
  const passed = allow === (expect === 'allow') && (because === undefined || because === rule || because === reason)
  const outcome = `${allow ? 'allowed' : 'refused'} by ${rule === '' ? (reason ?? '') : `rule ${rule}`}`
  return { ...result, passed, outcome: passed ? outcome : `${outcome}, expected ${wanted(test)}`, explanation }
}

function wanted({ expect, because }: PolicyTest): string {
  return `${expect === 'allow' ? 'allowed' : 'refused'}${because === undefined ? '' : ` by ${because}`}`
}

function inShort({ request, expect }: PolicyTest): string {
  const { peer, method, path, protocol } = request
  return [expect, peer, method ?? (protocol === undefined ? 'GET' : protocol), path].filter((part) => typeof part === 'string').join(' ')
}
