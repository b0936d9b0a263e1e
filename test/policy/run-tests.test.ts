import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runPolicyTests } from '#policy/run-tests'
import { NOON, policies } from '../support/policies.ts'

const policy = (tests: string, mode = 'enforce'): string => `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: ${mode}
  target: { service: catalog, ports: [8080, 8081] }
  selector: { app: catalog }
  rules:
    - name: reads
      allow: { and: [{ service_account: cart }, { http_method: GET }, { http_path: { starts_with: /a/ } }] }
    - name: team
      allow: { and: [{ groups: team }, { header/x-a: "1" }, { source_ip: 10.0.0.0/8 }, { time_of_day: { timezone: UTC, after: 9:00, before: 17:00 } }] }
    - name: rpc
      allow: { and: [{ grpc_service: a.B }, { client_certificate: { san_dns: x } }] }
    - name: secrets
      deny: { and: [{ http_path: { starts_with: /a/secret/ } }] }
tests:
  ${tests}
`

const PEER = 'peer: spiffe://example.org/ns/shop/sa/cart'
/** The test, whether it passes, its outcome. */
const CASES: readonly (readonly [string, boolean, RegExp])[] = [
  [`{ request: { ${PEER}, path: /a/b }, expect: allow, because: reads }`, true, /allowed by rule reads/],
  [`{ request: { ${PEER}, path: "/a/b?x=1", method: GET }, expect: allow }`, true, /allowed by rule reads/],
  [`{ request: { ${PEER}, path: /a/b, method: POST }, expect: deny }`, true, /refused by ERR_POLICY_NO_ALLOW/],
  [`{ request: { ${PEER}, path: /a/b, method: POST }, expect: deny, because: ERR_POLICY_NO_ALLOW }`, true, /refused/],
  [`{ request: { ${PEER}, path: /a/b, method: POST }, expect: allow }`, false, /refused by ERR_POLICY_NO_ALLOW, expected allowed/],
  [`{ request: { ${PEER}, path: /a/b }, expect: deny }`, false, /allowed by rule reads, expected refused/],
  [`{ request: { ${PEER}, path: /a/b }, expect: allow, because: team }`, false, /expected allowed by team/],
  [`{ request: { ${PEER}, path: /a/secret/x }, expect: deny, because: secrets }`, true, /refused by rule secrets/],
  [`{ request: { ${PEER}, path: /a/%7e }, expect: allow }`, true, /allowed/],
  [`{ request: { ${PEER}, path: /a/%2e%2e/b }, expect: deny }`, true, /before policy is asked \(ERR_PATH_DOT_SEGMENT\)/],
  [`{ request: { ${PEER}, path: /a//b }, expect: allow }`, false, /ERR_PATH_DOUBLE_SLASH/],
  [`{ request: { ${PEER}, path: /a//b, paths: double-slash }, expect: allow }`, true, /allowed/],
  [`{ request: { ${PEER}, path: /A/b, paths: [ignore-case] }, expect: allow }`, true, /allowed/],
  [
    `{ request: { path: /x, token: { iss: i, sub: s, groups: [team] }, headers: { X-A: "1" }, source_ip: 10.0.0.1, at: "2026-06-15T10:00:00Z" }, expect: allow, because: team }`,
    true,
    /team/,
  ],
  [
    `{ request: { path: /x, token: { iss: i, sub: s, groups: [team] }, headers: ["x-a: 1"], source_ip: 10.0.0.1, at: "2026-06-15T18:00:00Z" }, expect: deny }`,
    true,
    /refused/,
  ],
  [
    `{ request: { path: /x, token: { iss: i, sub: s, groups: [team], exp: 1 }, headers: { x-a: "1" }, source_ip: 10.0.0.1 }, expect: deny, because: ERR_TOKEN_EXPIRED }`,
    true,
    /ERR_TOKEN_EXPIRED/,
  ],
  [
    `{ request: { path: /x, token: { iss: i, sub: s, nbf: 99999999999 } }, expect: deny, because: ERR_TOKEN_NOT_YET_VALID }`,
    true,
    /NOT_YET_VALID/,
  ],
  [`{ request: { ${PEER}, protocol: grpc, path: /a.B/Get, certificate: { san_dns: [x] } }, expect: allow, because: rpc }`, true, /rpc/],
  [`{ request: { ${PEER}, path: /a/b, service: cart }, expect: deny, because: ERR_POLICY_NONE }`, true, /ERR_POLICY_NONE/],
  [`{ request: { ${PEER}, path: /a/b, port: 8081, labels: { app: catalog } }, expect: allow }`, true, /allowed/],
  [`{ request: { ${PEER}, path: /a/b, port: 8082 }, expect: allow }`, false, /ERR_POLICY_NONE/],
  [`{ request: { ${PEER}, path: /a/b, labels: ["app=cart"] }, expect: allow }`, false, /ERR_POLICY_NONE/],
]

for (const [text, passed, outcome] of CASES) {
  test(`${passed ? 'passes' : 'fails'}: ${text}`, () => {
    const [result, more] = runPolicyTests(policies(policy(`- ${text}`)), NOON)
    assert.ok(result !== undefined && more === undefined)
    assert.match(result.outcome, outcome)
    assert.equal(result.passed, passed)
    assert.deepEqual(result.at, { file: 'policy.yaml', line: 18, column: 5 })
  })
}

test('tests of a policy in shadow mode are run as if it were enforced', () => {
  const [result] = runPolicyTests(policies(policy(`- { request: { ${PEER}, path: /a/b }, expect: allow }`, 'shadow')), NOON)
  assert.equal(result?.passed, true)
})

test('the other documents of the file decide too', () => {
  const deny = '- deny: { or: [{ http_path: /a/b }] }'
  const [result] = runPolicyTests(
    policies(`${policy(`- { name: named, request: { ${PEER}, path: /a/b }, expect: deny, because: "#1" }`)}\n---\n${deny}`),
    NOON,
  )
  assert.equal(result?.passed, true)
  assert.equal(result.name, 'named')
})
