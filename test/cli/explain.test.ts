import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { explainCommand } from '#cli/explain'
import { runInProcess, runPostern } from '../support/run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-explain-'))
after(() => rmSync(folder, { recursive: true }))

const CART = 'spiffe://example.org/ns/shop/sa/cart'
const POLICY = `
- name: reads
  allow: { and: [{ spiffe_id: ${CART} }, { http_method: { in: [GET, HEAD] } }, { http_path: { starts_with: /catalog/ } }] }
- name: users
  allow: { and: [{ groups: staff }, { http_path: /staff }] }
- name: host
  allow: { and: [{ http_host: catalog.shop }, { header/x-a: "1" }, { query/q: "1" }, { source_ip: 10.0.0.0/8 }] }
- name: hours
  allow: { and: [{ http_path: /hours }, { time_of_day: { timezone: Europe/Berlin, after: 9:00, before: 17:00 } }] }
- name: rpc
  allow: { and: [{ grpc_service: a.B }, { grpc_method: Get }] }
- name: cert
  allow: { and: [{ http_path: /cert }, { client_certificate: { san_uri: { ends_with: /sa/cart } } }] }
- name: no
  deny: { or: [{ http_path: { starts_with: /catalog/internal/ } }] }
`
const TARGETED = (service: string, port: number): string => `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: ${service} }
spec:
  target: { service: ${service}, ports: [${port}] }
  selector: { app: ${service} }
  rules: [{ name: ${service}, allow: { or: [{ http_method: GET }] } }]
`
for (const [name, text] of [
  ['policy.yaml', POLICY],
  ['one.yaml', TARGETED('catalog', 8080)],
  ['two.yaml', `${TARGETED('catalog', 8080)}---\n${TARGETED('cart', 9090)}`],
  ['tcp.yaml', `allow: { and: [{ spiffe_id: ${CART} }, { port: 5432 }] }`],
  ['wrong.yaml', 'allow: { and: [{ http_pth: / }] }'],
  ['claims.json', JSON.stringify({ iss: 'https://i', sub: 'alice', groups: ['staff'] })],
  ['expired.json', JSON.stringify({ iss: 'https://i', sub: 'alice', groups: ['staff'], exp: 1767225600 })],
  ['list.json', '[]'],
  ['nosub.json', '{"iss":"i"}'],
  ['broken.json', '{'],
] as const) {
  writeFileSync(join(folder, name), text)
}

const run = (args: readonly string[], stdin = '') => runInProcess(explainCommand, args, { cwd: folder, stdin })
const explain = (...args: string[]) => run(['--policies', 'policy.yaml', '--peer', CART, ...args])

/** Options, status, what the answer begins with. */
const ANSWERS: readonly (readonly [readonly string[], number, RegExp])[] = [
  [['--path', '/catalog/1'], 0, /^allowed by allow rule reads of policy \(policy\.yaml:3:12\)/],
  [['--path', '/catalog/1?x=1', '--method', 'HEAD'], 0, /rule reads/],
  [
    ['--path', '/catalog/1', '--method', 'POST'],
    1,
    /^refused: No allow rule matched.*\n {2}allow rule reads .*nearest\n[^]*× http_method in \[GET, HEAD\] — it is POST/,
  ],
  [['--path', '/catalog/internal/x'], 1, /^refused by deny rule no/],
  [['--path', '/catalog/%7e'], 0, /it is \/catalog\/~/],
  [['--path', '/catalog/../x'], 1, /^refused before policy is asked: .*\(ERR_PATH_DOT_SEGMENT\)/],
  [['--path', '/catalog//x'], 1, /ERR_PATH_DOUBLE_SLASH/],
  [['--path', '/catalog//x', '--paths', 'double-slash'], 0, /rule reads/],
  [['--path', '/Catalog/x', '--paths', 'ignore-case'], 0, /rule reads/],
  [['--path', '/staff', '--token', 'claims.json'], 0, /rule users/],
  [['--path', '/staff'], 1, /× groups has "staff" — it is absent/],
  [['--path', '/staff', '--token', 'expired.json', '--at', '2025-12-31T23:59:59Z'], 0, /rule users/],
  [['--path', '/staff', '--token', 'expired.json', '--at', '2026-01-01T00:00:00Z'], 1, /ERR_TOKEN_EXPIRED/],
  [['--path', '/x?q=1', '--host', 'Catalog.shop.:8080', '--header', 'X-A: 1', '--source-ip', '10.1.1.1'], 0, /rule host/],
  [['--path', '/x?q=1', '--header', 'host: catalog.shop', '--header', 'x-a:1', '--source-ip', '10.1.1.1'], 0, /rule host/],
  [['--path', '/hours', '--at', '2026-06-15T09:00:00+02:00'], 0, /rule hours[^]*until 2026-06-15T15:00:00.000Z/],
  [['--path', '/hours', '--at', '2026-06-15T17:00:00+02:00'], 1, /it is 17:00:00 Europe\/Berlin/],
  [['--path', '/a.B/Get', '--protocol', 'grpc'], 0, /rule rpc/],
  [['--path', '/a.B/Get'], 1, /needs a gRPC request/],
]

for (const [args, status, text] of ANSWERS) {
  test(`explain ${args.join(' ')} is status ${status}`, async () => {
    const result = await explain(...args)
    assert.equal(result.status, status, result.stdout + result.stderr)
    assert.match(result.stdout, text)
    const json = await explain(...args, '--output', 'json')
    assert.equal(json.status, status)
    assert.equal((JSON.parse(json.stdout) as { decision: string }).decision, status === 0 ? 'allow' : 'deny')
  })
}

test('an opaque connection is explained by peer and port', async () => {
  const tcp = ['--policies', 'tcp.yaml', '--protocol', 'tcp', '--port', '5432']
  assert.equal((await run([...tcp, '--peer', CART])).status, 0)
  assert.equal((await run([...tcp, '--peer', 'spiffe://example.org/x'])).status, 1)
})

test('service, port and labels are taken from the policies where they agree', async () => {
  const { status, stderr } = await run(['--policies', 'one.yaml', '--peer', CART])
  assert.equal(status, 0)
  assert.equal(stderr, 'Taken from the policies: service catalog, port 8080, labels {"app":"catalog"}.\n')
})

test('where the policies name several services, one must be said', async () => {
  const { status, stderr } = await run(['--policies', 'two.yaml', '--peer', CART])
  assert.equal(status, 2)
  assert.match(stderr, /service \(catalog, cart\), port \(8080, 9090\)/)
  const cart = ['--policies', 'two.yaml', '--peer', CART, '--service', 'cart', '--port', '9090', '--label', 'app=cart']
  assert.match((await run(cart)).stdout, /^allowed by allow rule cart of cart[^]*not for this service, port or labels: catalog/)
  const other = await run([...cart.slice(0, -1), 'app=other'])
  assert.equal(other.status, 1)
  assert.match(other.stdout, /ERR_POLICY_NONE/)
})

/** Options, what is said. */
const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [['--peer', CART], /`--policies` is missing/],
  [['--policies', 'wrong.yaml', '--peer', CART], /wrong\.yaml:1:18: .*http_pth/],
  [['--policies', 'missing', '--peer', CART], /does not exist/],
  [['--policies', 'policy.yaml', '--peer', 'cart'], /must be a SPIFFE ID/],
  [['--policies', 'policy.yaml', '--pear', CART], /Did you mean `--peer`/],
  [['--policies', 'policy.yaml', 'x'], /unexpected argument/],
  [['--policies', 'policy.yaml', '--method', 'G ET'], /name of a method/],
  [['--policies', 'policy.yaml', '--at', 'noon'], /RFC 3339/],
  [['--policies', 'policy.yaml', '--port', '99999'], /0 to 65535/],
  [['--policies', 'policy.yaml', '--protocol', 'udp'], /`http`, `grpc` or `tcp`/],
  [['--policies', 'policy.yaml', '--source-ip', 'x'], /IP address/],
  [['--policies', 'policy.yaml', '--header', 'x'], /name: value/],
  [['--policies', 'policy.yaml', '--header', 'a b: c'], /not a header/],
  [['--policies', 'policy.yaml', '--host', 'a/b'], /host with an optional port/],
  [['--policies', 'policy.yaml', '--label', 'x'], /key=value/],
  [['--policies', 'policy.yaml', '--paths', 'all'], /encoded-slash/],
  [['--policies', 'policy.yaml', '--token', 'none.json'], /does not exist/],
  [['--policies', 'policy.yaml', '--token', 'broken.json'], /not JSON/],
  [['--policies', 'policy.yaml', '--token', 'list.json'], /not a JSON object/],
  [['--policies', 'policy.yaml', '--token', 'nosub.json'], /`iss` and `sub`/],
  [['--policies', 'policy.yaml', '--certificate', 'claims.json'], /no certificate in PEM/],
  [['--policies', 'policy.yaml', '--protocol', 'tcp', '--peer', CART], /ERR_POLICY_PROTOCOL/],
  [['--policies', 'tcp.yaml', '--protocol', 'tcp', '--path', '/x'], /has no `path`/],
  [['--policies', 'policy.yaml', '--output', 'xml'], /`json` or `text`/],
  [['--policies', 'policy.yaml', '--cases', 'none.jsonl'], /none\.jsonl cannot be read/],
]

for (const [args, message] of WRONG) {
  test(`explain ${args.join(' ')} is status 2`, async () => {
    const { status, stdout, stderr } = await run(args)
    assert.equal(status, 2, stdout)
    assert.match(stderr, message)
  })
}

test('many cases are decided in one run, a line for each', async () => {
  const lines = [
    { peer: CART, path: '/catalog/1', expect: 'allow', because: 'reads' },
    { id: 'two', peer: CART, path: '/catalog/1', method: 'POST' },
    { peer: CART, path: '/staff', token: { iss: 'i', sub: 's', groups: 'staff' } },
    { peer: CART, path: '/staff', token: 'claims.json' },
    { peer: CART, path: '/x?q=1', host: 'catalog.shop', headers: { 'x-a': '1' }, 'source-ip': '10.1.1.1' },
    { request: { peer: CART, path: '/a/%2e%2e/b' } },
  ]
  const { status, stdout } = await run(
    ['--policies', 'policy.yaml', '--cases', '-'],
    `${lines.map((line) => JSON.stringify(line)).join('\n')}\n\n`,
  )
  assert.equal(status, 0)
  const answers = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    answers.map(({ line, id, decision, rule, reason }) => [line ?? id, decision, rule, reason]),
    [
      [1, 'allow', 'reads', null],
      ['two', 'deny', '', 'ERR_POLICY_NO_ALLOW'],
      [3, 'allow', 'users', null],
      [4, 'allow', 'users', null],
      [5, 'allow', 'host', null],
      [6, 'deny', '', 'ERR_PATH_DOT_SEGMENT'],
    ],
  )
  assert.equal((answers[1]!['considered'] as unknown[]).length, 3)
})

test('cases take what they do not say from the options, and an expectation that is not met is status 1', async () => {
  writeFileSync(
    join(folder, 'cases.jsonl'),
    '{"path":"/catalog/1","expect":"allow"}\n{"path":"/catalog/1","method":"PUT","expect":"allow"}\n',
  )
  const { status, stdout } = await run(['--policies', 'policy.yaml', '--cases', 'cases.jsonl', '--peer', CART])
  assert.equal(status, 1)
  assert.match(stdout, /"decision":"allow"[^]*"decision":"deny".*"expected":"allow"/)
})

test('a wrong case is answered in its line, the others are decided, and the status is 2', async () => {
  const { status, stdout } = await run(
    ['--policies', 'policy.yaml', '--cases', '-', '--peer', CART],
    '{"pth":"/"}\nnonsense\n{"path":"/catalog/1"}\n',
  )
  assert.equal(status, 2)
  assert.match(
    stdout,
    /^\{"line":1,"error":".*Did you mean `path`.*","code":"ERR_USAGE"\}\n\{"line":2,"error":"line 2 is not JSON.*\}\n\{"line":3,"decision":"allow"/,
  )
})

test('a certificate says who its holder is', async () => {
  await runPostern(['certs', 'init', 'ca', '--trust-domain', 'example.org'], { cwd: folder })
  const issued = await runPostern(['certs', 'issue', 'ca', '--id', CART, '--out', 'cart'], { cwd: folder })
  assert.equal(issued.status, 0, issued.stderr)
  const policies = ['--policies', 'policy.yaml', '--path', '/cert', '--certificate', 'cart/svid.pem']
  const { status, stdout } = await run(policies)
  assert.equal(status, 0, stdout)
  assert.match(stdout, /rule cert/)
  assert.match((await run([...policies, '--peer', 'spiffe://example.org/other'])).stderr, /The certificate is not one of/)
})

test('a request id is asked of the sidecar', async () => {
  const { status, stderr } = await run(['0190', '--admin', `unix:${join(folder, 'none.sock')}`])
  assert.equal(status, 2)
  assert.match(stderr, /ERR_ADMIN_UNREACHABLE/)
  assert.equal((await run(['--admin', `unix:${join(folder, 'none.sock')}`, '0190'])).status, 2)
})

test('as a program, explain prints its help and its answer', async () => {
  const help = await runPostern(['explain', '--help'])
  assert.match(help.stdout, /Example:\n/)
  const { status, stdout } = await runPostern(['explain', '--policies', 'policy.yaml', '--peer', CART, '--path', '/catalog/1'], {
    cwd: folder,
  })
  assert.equal(status, 0)
  assert.match(stdout, /^allowed by allow rule reads/)
})

test('a reason code is explained without a request', async () => {
  const { status, stdout } = await runInProcess(explainCommand, ['ERR_SVID_REVOKED'])
  assert.equal(status, 0)
  assert.match(stdout, /^ERR_SVID_REVOKED: The certificate, .* is revoked\.\n {2}See the revocations/)
  const unknown = await runInProcess(explainCommand, ['ERR_SVID_REVOKD'])
  assert.equal(unknown.status, 2)
  assert.match(unknown.stderr, /Did you mean ERR_SVID_REVOKED/)
})
