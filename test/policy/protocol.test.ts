import assert from 'node:assert/strict'
import { test } from 'node:test'
import { protocolProblems, type GovernedListener } from '#policy/protocol'
import { policies, SCOPE } from '../support/policies.ts'

const HTTP: GovernedListener = { ...SCOPE, name: '0.0.0.0:8080', protocol: 'http1', ignoreCase: false }
const TCP: GovernedListener = { ...SCOPE, ports: [5432], name: '0.0.0.0:5432', protocol: 'tcp', ignoreCase: false }
const CASELESS: GovernedListener = { ...HTTP, ignoreCase: true }

const KIND = 'apiVersion: postern.dev/v1\nkind: Policy\n'
const HTTP_CRITERIA = [
  'http_method: GET',
  'http_path: /a',
  'http_host: a',
  'header/x: a',
  'query/x: { present: false }',
  'grpc_service: a',
  'grpc_method: a',
  'cors_preflight: true',
  'authenticated_user: true',
  'claim/x: a',
  'groups: a',
  'user: a',
  'email: a',
  'domain: a',
  'token/issuer: a',
  'token/audience: a',
  'token_is_peer: true',
]
const CONNECTION_CRITERIA = [
  'spiffe_id: spiffe://a/b',
  'trust_domain: a',
  'namespace: a',
  'service_account: a',
  'client_certificate: {}',
  'invalid_client_certificate: true',
  'source_ip: 10.0.0.0/8',
  'port: 80',
  'date: { after: "2026-01-01T00:00:00Z" }',
  'day_of_week: mon',
  'time_of_day: { timezone: UTC, after: 1:00 }',
  'accept: true',
  'reject: true',
]

test('HTTP criteria that would govern a tcp listener are refused, under allow and deny alike', () => {
  for (const criterion of HTTP_CRITERIA) {
    for (const action of ['allow', 'deny']) {
      const [document] = policies(`${action}: { and: [{ accept: true }, { ${criterion} }] }`)
      assert.deepEqual(protocolProblems(document!, [HTTP]), [])
      const [problem, more] = protocolProblems(document!, [HTTP, TCP])
      assert.equal(problem?.code, 'ERR_POLICY_PROTOCOL', criterion)
      assert.equal(problem.severity, 'error')
      assert.match(problem.message, /0\.0\.0\.0:5432/)
      assert.equal(more, undefined)
    }
  }
})

test('criteria of peer, address, port and time are taken on a tcp listener', () => {
  for (const criterion of CONNECTION_CRITERIA) {
    const [document] = policies(`allow: { and: [{ ${criterion} }] }`)
    assert.deepEqual(protocolProblems(document!, [TCP]), [], criterion)
  }
})

test('a document that does not apply to the tcp listener may hold what it likes', () => {
  const [document] = policies(`${KIND}spec: { target: { ports: [8080] }, rules: [{ allow: { and: [{ http_path: /a }] } }] }`)
  assert.deepEqual(protocolProblems(document!, [HTTP, TCP]), [])
  assert.equal(protocolProblems(document!, [{ ...TCP, ports: [8080] }]).length, 1)
})

test('on a listener that ignores case, literals in upper case are refused with the lower-case ones', () => {
  const text =
    '- allow: { and: [{ http_path: { in: [/a%2Fb, /Users], not: { starts_with: /A } } }] }\n- deny: { or: [{ http_path: { matches: "/Admin/{Id}/X" } }, { http_path: /ok }] }'
  const [document] = policies(text)
  assert.deepEqual(protocolProblems(document!, [HTTP]), [])
  assert.deepEqual(
    protocolProblems(document!, [CASELESS]).map(({ code, suggestion }) => [code, suggestion]),
    [
      ['ERR_POLICY_PATH', '/users'],
      ['ERR_POLICY_PATH', '/a'],
      ['ERR_POLICY_PATH', '/admin/{Id}/x'],
    ],
  )
})
