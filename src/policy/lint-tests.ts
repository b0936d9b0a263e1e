/** Lint of `tests:`: those that cannot tell a right policy from a wrong one. */
import { type Complaints, warn } from './complaints.ts'
import { appliesTo, locationIn, type PolicyDocument } from './document.ts'
import { readRequest } from './request.ts'
import { scopeOfTest } from './scope.ts'

export function lintTests(document: PolicyDocument, documents: readonly PolicyDocument[], now: number, complaints: Complaints): void {
  const rules = new Set(documents.filter(({ file }) => file === document.file).flatMap((other) => other.rules.map(({ name }) => name)))
  const seen = new Set<string>()
  for (const test of document.tests) {
    const at = locationIn(document, test)
    const key = JSON.stringify(test.request)
    if (seen.has(key)) warn(complaints, 'ERR_POLICY_DEAD_TEST', at, 'This test asks what an earlier one asks.')
    seen.add(key)
    const { request } = readRequest(test.request, now)
    if (request === undefined) continue
    if (request.refused !== undefined) {
      if (test.because !== request.refused.reason) {
        const message = `This request never reaches policy (${request.refused.reason}): whatever the rules say, it is refused.`
        warn(complaints, 'ERR_POLICY_DEAD_TEST', at, message, `because: ${request.refused.reason}`)
      }
      continue
    }
    if (test.because !== undefined && !rules.has(test.because) && !test.because.startsWith('ERR_')) {
      warn(complaints, 'ERR_POLICY_DEAD_TEST', at, `No rule in this file is named \`${test.because}\`, so this test always fails.`)
    }
    if (!appliesTo(document, scopeOfTest(document, request))) {
      warn(complaints, 'ERR_POLICY_DEAD_TEST', at, 'The policy does not apply to the service, port or labels of this request.')
    }
  }
}
