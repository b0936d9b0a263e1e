/** The CA's document: what each key becomes, and that every fault is reported with its place. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { CA_DEFAULTS, type CaConfig } from '#config/ca-config'
import { type CaDocument, readCaDocument } from '#config/ca-document'
import { loadCaConfiguration } from '#config/load-ca'
import { readYamlDocuments } from '#config/yaml'

const LEAST = `apiVersion: postern.dev/v1
kind: CertificateAuthority
spec:
  trustDomain: example.org
  store: { sqlite: ca.db }
  keys: file:keys/
  attest:
    joinToken: {}
`

function read(text: string): CaDocument {
  const { documents, problems } = readYamlDocuments(text, 'ca.yaml')
  assert.deepEqual(problems, [])
  return readCaDocument(documents[0]!, { file: '/etc/postern/ca.yaml' })
}

function config(text: string): CaConfig {
  const { config, problems } = read(text)
  assert.deepEqual(problems.map(formatProblem), [])
  assert.ok(config)
  return config
}

test('the least document gets every default', () => {
  const least = config(LEAST)
  assert.deepEqual(least, {
    file: '/etc/postern/ca.yaml',
    trustDomain: 'example.org',
    listen: { kind: 'tcp', host: '0.0.0.0', port: 7100 },
    health: { kind: 'tcp', host: '0.0.0.0', port: 7120 },
    store: { kind: 'sqlite', file: '/etc/postern/ca.db', keep: CA_DEFAULTS.keep },
    keys: { kind: 'file', folder: '/etc/postern/keys' },
    svid: CA_DEFAULTS.svid,
    attest: { joinToken: { max: 86_400_000 }, serviceAccountToken: [], oidc: [] },
    limits: CA_DEFAULTS.limits,
    refreshHint: 300_000,
    poll: 5000,
    bundleEndpoint: undefined,
  })
})

test('the document of the design is read as it stands', () => {
  const found = config(`apiVersion: postern.dev/v1
kind: CertificateAuthority
spec:
  trustDomain: example.org
  listen: 0.0.0.0:7100
  store: { sqlite: ca.db }
  keys: file:keys/
  svid: { x509: 8h, jwt: 5m, max: 24h }
  attest:
    joinToken: {}
    serviceAccountToken: { issuer: https://issuer.example, jwks: { file: jwks.json }, audience: postern-ca, id: "spiffe://{trustDomain}/ns/{namespace}/sa/{serviceAccount}" }
`)
  const [token] = found.attest.serviceAccountToken
  assert.equal(token?.issuer, 'https://issuer.example')
  assert.deepEqual(token?.verifiedBy, { kind: 'file', file: '/etc/postern/jwks.json' })
  assert.deepEqual(token?.id.gaps, ['namespace', 'serviceAccount'])
  assert.equal(found.svid.max, 86_400_000)
})

test('every key that is set arrives parsed', () => {
  const found = config(`apiVersion: postern.dev/v1
kind: CertificateAuthority
metadata: { name: main }
spec:
  trustDomain: example.org
  listen: '[::]:0'
  health: unix:health.sock
  store:
    postgres: { url: 'postgres://postern@db.internal/postern', password: { file: pw }, ca: db-ca.pem }
    keep: 7d
  keys: file:///var/lib/postern/keys
  svid: { x509: 2s, jwt: 1s, max: 1h }
  attest:
    joinToken: { max: 1h }
    serviceAccountToken:
      - tokenReview: {}
        audience: postern-ca
      - tokenReview: { server: https://east.example:6443, token: east/token, ca: east/ca.crt }
        audience: postern-ca
        id: spiffe://example.org/east/{namespace}/{serviceAccount}
      - issuer: https://west.example
        jwks: { url: https://west.example/keys, ca: west.pem, token: west/token }
        audience: postern-ca
        id: spiffe://{trustDomain}/west-{namespace}/{serviceAccount}
    oidc:
      - issuer: https://token.actions.example
        audience: postern
        require: { repository: [octo/shop, octo/till], ref: refs/heads/main }
        id: spiffe://{trustDomain}/ci/deploy
      - issuer: https://login.example
        jwks: { file: login.json }
        audience: postern
        id: spiffe://{trustDomain}/people/{claims.sub}/{claims.team.name}
  limits: { issuancesPerMinute: 6, burst: 3, inFlight: 4, connections: 5 }
  refreshHint: 1m
  poll: 500ms
  bundleEndpoint: { listen: 0.0.0.0:8443, profile: https_web, certificate: web.pem, key: web-key.pem }
`)
  assert.deepEqual(found.listen, { kind: 'tcp', host: '::', port: 0 })
  assert.deepEqual(found.health, { kind: 'unix', path: '/etc/postern/health.sock' })
  assert.deepEqual(found.store, {
    kind: 'postgres',
    url: 'postgres://postern@db.internal/postern',
    passwordFile: '/etc/postern/pw',
    tls: 'verify',
    ca: '/etc/postern/db-ca.pem',
    keep: 7 * 86_400_000,
  })
  assert.deepEqual(found.keys, { kind: 'file', folder: '/var/lib/postern/keys' })
  assert.deepEqual(found.svid, { x509: 2000, jwt: 1000, max: 3_600_000 })
  assert.deepEqual(found.attest.joinToken, { max: 3_600_000 })
  assert.deepEqual(
    found.attest.serviceAccountToken.map(({ issuer, verifiedBy, id }) => [issuer, verifiedBy, id.text]),
    [
      [undefined, { kind: 'tokenReview', ...CA_DEFAULTS.kubernetes }, CA_DEFAULTS.serviceAccountId],
      [
        undefined,
        { kind: 'tokenReview', server: 'https://east.example:6443', token: '/etc/postern/east/token', ca: '/etc/postern/east/ca.crt' },
        'spiffe://example.org/east/{namespace}/{serviceAccount}',
      ],
      [
        'https://west.example',
        { kind: 'url', url: 'https://west.example/keys', ca: '/etc/postern/west.pem', token: '/etc/postern/west/token' },
        'spiffe://{trustDomain}/west-{namespace}/{serviceAccount}',
      ],
    ],
  )
  assert.deepEqual(
    found.attest.oidc.map(({ issuer, jwks, require, id }) => [issuer, jwks, require, id.gaps]),
    [
      [
        'https://token.actions.example',
        { kind: 'discovery' },
        [
          { claim: 'repository', values: ['octo/shop', 'octo/till'] },
          { claim: 'ref', values: ['refs/heads/main'] },
        ],
        [],
      ],
      ['https://login.example', { kind: 'file', file: '/etc/postern/login.json' }, [], ['claims.sub', 'claims.team.name']],
    ],
  )
  assert.deepEqual(found.limits, { issuancesPerMinute: 6, burst: 3, inFlight: 4, connections: 5 })
  assert.deepEqual([found.refreshHint, found.poll], [60_000, 500])
  assert.deepEqual(found.bundleEndpoint, {
    listen: { kind: 'tcp', host: '0.0.0.0', port: 8443 },
    profile: 'https_web',
    files: { certificate: '/etc/postern/web.pem', key: '/etc/postern/web-key.pem' },
  })
})

test('PostgreSQL on this host is called without TLS, elsewhere never without being told so', () => {
  const store = (text: string): CaConfig['store'] => config(LEAST.replace('{ sqlite: ca.db }', `{ postgres: { ${text} } }`)).store
  const rows: readonly (readonly [text: string, tls: 'off' | 'verify'])[] = [
    ['url: postgres://127.0.0.1/postern', 'off'],
    ['url: postgresql://postern@localhost:5433/postern', 'off'],
    ["url: 'postgres:///postern?host=/run/postgresql'", 'off'],
    ['url: postgres://%2Frun%2Fpostgresql/postern', 'off'],
    ['url: postgres://127.0.0.1/postern, ca: ca.pem', 'verify'],
    ['url: postgres://db/postern', 'verify'],
    ['url: postgres://db/postern, tls: off', 'off'],
  ]
  for (const [text, tls] of rows) {
    const found = store(text)
    assert.equal(found.kind === 'postgres' && found.tls, tls, text)
  }
})

test('every fault has its file, line, column and code', () => {
  const replaced = (from: string, to: string): string => {
    assert.ok(LEAST.includes(from))
    return LEAST.replace(from, to)
  }
  const attest = (text: string): string => replaced('    joinToken: {}\n', text)
  const id = (text: string): string => attest(`    serviceAccountToken: { tokenReview: {}, audience: a, id: '${text}' }\n`)
  const oidc = (text: string): string => attest(`    oidc:\n      - { issuer: i, audience: a, ${text} }\n`)
  const rows: readonly (readonly [text: string, ...complaints: RegExp[]])[] = [
    [LEAST.replace('CertificateAuthority', 'Sidecar'), /^ca\.yaml:2:7: .*kind Sidecar, not Certif.*`postern sidecar` ?.*ERR_CONFIG_VALUE/],
    [replaced('trustDomain: example.org', 'trustDomain: Example.org'), /^ca\.yaml:4:16: .*Did you mean `example\.org`/],
    [replaced('keys:', 'kyes:'), /^ca\.yaml:6:3: `spec` has no key `kyes`\. Did you mean `keys`/, /`spec\.keys` is missing/],
    [replaced('file:keys/', 'keys/'), /^ca\.yaml:6:9: .*Did you mean `file:keys\/`/],
    [replaced('file:keys/', 'pkcs11:token=x'), /^ca\.yaml:6:9: .*PKCS#11.*give `file:FOLDER`.*ERR_CONFIG_NOT_YET/],
    [replaced('{ sqlite: ca.db }', '{}'), /^ca\.yaml:5:10: `spec\.store` takes exactly one/],
    [replaced('{ sqlite: ca.db }', '{ sqlite: a, postgres: { url: postgres://db/x } }'), /^ca\.yaml:5:10: .*exactly one/],
    [replaced('{ sqlite: ca.db }', '{ postgres: { url: mysql://db/x } }'), /^ca\.yaml:5:29: .*must be a URL such as/],
    [
      replaced('{ sqlite: ca.db }', '{ postgres: { url: postgres://u:hunter2@db/x } }'),
      /^ca\.yaml:5:29: (?!.*hunter2).*password: .*UNSAFE/,
    ],
    [
      replaced('{ sqlite: ca.db }', "{ postgres: { url: 'postgres://db/x?sslmode=disable' } }"),
      /^ca\.yaml:5:29: .*`sslmode`; `tls` and `ca`/,
    ],
    [replaced('{ sqlite: ca.db }', '{ postgres: { url: postgres://db/x, tls: off, ca: c } }'), /^ca\.yaml:5:60: .*no use with `tls: off`/],
    [attest('    joinTokens: {}\n'), /`spec\.attest` has no key `joinTokens`\. Did you mean `joinToken`/],
    [replaced('attest:\n    joinToken: {}', 'attest: {}'), /^ca\.yaml:7:11: .*nobody can get a first identity/],
    [
      `${LEAST}  workloadApi: { id: spiffe://other.example/a, listen: unix:a.sock }\n`,
      /^ca\.yaml:9:22: `spec\.workloadApi\.id`: .* is not of example\.org/,
    ],
    [`${LEAST}  workloadApi: [{ id: spiffe://example.org/postern/ca, listen: unix:a.sock }]\n`, /those of Postern itself/],
    [`${LEAST}  workloadApi: [{ id: spiffe://example.org/a, listen: 127.0.0.1:7000 }]\n`, /Unix socket/],
    [
      `${LEAST}  workloadApi: [{ id: spiffe://example.org/a, listen: unix:a.sock }, { id: spiffe://example.org/b, listen: unix:a.sock }]\n`,
      /^ca\.yaml:\d+:\d+: `spec\.workloadApi\[1\]\.listen`: an entry before has this socket/,
    ],
    [`${LEAST}  svid: { x509: 2d }\n`, /^ca\.yaml:9:17: `spec\.svid\.x509`: it is longer than `spec\.svid\.max`/],
    [`${LEAST}  refreshHint: 1500ms\n`, /^ca\.yaml:9:16: .*whole seconds/],
    [`${LEAST}  listen: 0.0.0.0:7120\n`, /^ca\.yaml:.*`spec\.health`: it is `0\.0\.0\.0:7120`, where `spec\.listen` listens already/],
    [`${LEAST}  bundleEndpoint: { listen: 127.0.0.1:7100, profile: https_spiffe }\n`, /^ca\.yaml:9:29: .*`spec\.listen` listens already/],
    [`${LEAST}  bundleEndpoint: { listen: 127.0.0.1:1, profile: https_web }\n`, /^ca\.yaml:9:19: .*takes a `certificate` and a `key`/],
    [`${LEAST}  bundleEndpoint: { listen: 127.0.0.1:1, profile: https_spiffe, key: k }\n`, /^ca\.yaml:9:70: .*own SVID serves/],
    [id('spiffe://{trustDomain}/ns/{namspace}/sa/{serviceAccount}'), /^ca\.yaml:8:62: .*no fact `namspace`.*Did you mean `\{namespace\}`/],
    [id('spiffe://{trustDomain}/ns/{namespace}'), /^ca\.yaml:8:62: .*without `\{serviceAccount\}`.*UNSAFE/],
    [id('spiffe://other.org/{namespace}/{serviceAccount}'), /must begin with .*Did you mean `spiffe:\/\/\{trustDomain\}\/\{namespace\}/],
    [id('spiffe://{trustDomain}/{namespace}-{serviceAccount}'), /more than one gap/],
    [id('spiffe://{trustDomain}/{namespace/{serviceAccount}'), /`\{namespace` has a brace without its partner/],
    [id('spiffe://{trustDomain}/{namespace}//{serviceAccount}'), /the path has an empty segment|ends with a slash/],
    [id('spiffe://{trustDomain}/postern/{namespace}/{serviceAccount}'), /are those of Postern itself/],
    [id('spiffe://{trustDomain}/n s/{namespace}/{serviceAccount}'), /characters other than letters/],
    [id('spiffe://{trustDomain}'), /has a path after the trust domain/],
    [attest('    serviceAccountToken: { audience: a }\n'), /^ca\.yaml:8:26: .*either `tokenReview: \{\}`/],
    [attest('    serviceAccountToken: { jwks: {file: f}, audience: a }\n'), /^ca\.yaml:8:26: .*`issuer` is missing/],
    [
      attest('    serviceAccountToken: [{ tokenReview: {}, jwks: {file: f}, issuer: i, audience: a }]\n'),
      /^ca\.yaml:8:27: .*\[0\]`: say how/,
    ],
    [oidc('id: spiffe://example.org/ci'), /^ca\.yaml:9:\d+: `spec\.attest\.oidc\[0\]\.id`: whoever has a token.*UNSAFE/],
    [attest('    podCertificate: {}\n'), /`spec\.attest\.podCertificate\.by`|`by`/],
    [
      attest('    joinToken: {}\n    podCertificate: { by: spiffe://other.example/a }\n'),
      /`spiffe:\/\/other\.example\/a` is of another trust domain.*UNSAFE/,
    ],
    [attest('    podCertificate: { by: "spiffe://example.org" }\n'), /the ID of a trust domain/],
    [
      attest('    joinToken: {}\n    podCertificate: { by: spiffe://example.org/c, id: "spiffe://example.org/{namespace}" }\n'),
      /without `\{serviceAccount\}`.*UNSAFE/,
    ],
    [oidc('id: "spiffe://example.org/{sub}"'), /no fact `sub`.*Did you mean `\{claims\.sub\}`/],
    [oidc('id: "spiffe://example.org/{claims.}"'), /no fact `claims\.`/],
    [oidc('id: "spiffe://example.org/{claims.sub}", jwks: {}'), /takes either `file`, or `url`/],
    [oidc('id: "spiffe://example.org/{claims.sub}", jwks: {file: a, url: https://b}'), /takes either `file`, or `url`/],
    [oidc('id: "spiffe://example.org/{claims.sub}", jwks: {url: http://b}'), /must be `https:`.*Did you mean `https:\/\/b`.*UNSAFE/],
    [oidc('id: "spiffe://example.org/{claims.sub}", jwks: {url: https://u:p@b}'), /without a user or password/],
    [oidc('id: "spiffe://example.org/x", require: {a..b: c}'), /`a\.\.b` is no path of a claim/],
  ]
  for (const [text, ...complaints] of rows) {
    const { config, problems } = read(text)
    const lines = problems.map(formatProblem)
    assert.equal(config, undefined, `accepted:\n${text}`)
    assert.equal(lines.length, complaints.length, lines.join('\n'))
    for (const [index, complaint] of complaints.entries()) assert.match(lines[index]!, complaint)
  }
})

test('what is wrong with the file is said in the same form', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-ca-document-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const load = async (name: string, content?: string | Buffer): Promise<string[]> => {
    const file = join(folder, name)
    if (content !== undefined) writeFileSync(file, content)
    const { config, problems } = await loadCaConfiguration({ file, displayFolder: folder })
    assert.equal(config === undefined, problems.length > 0)
    return problems.map(formatProblem)
  }
  assert.deepEqual(await load('good.yaml', LEAST), [])
  assert.match((await load('absent.yaml'))[0]!, /^absent\.yaml:1:1: .*does not exist/)
  assert.match((await load('empty.yaml', ''))[0]!, /holds no document/)
  assert.match((await load('two.yaml', `${LEAST}---\n${LEAST}`))[0]!, /more than one document/)
  assert.match((await load('bytes.yaml', Buffer.from([0xff, 0xfe, 0x00])))[0]!, /not UTF-8/)
  assert.match((await load('broken.yaml', 'a: [\n'))[0]!, /ERR_CONFIG_SYNTAX/)
})
