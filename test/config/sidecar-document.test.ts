/** The sidecar's document: what each key becomes, and that every fault is reported with its place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { DEFAULTS, type SidecarConfig } from '#config/sidecar-config'
import { readSidecarDocument, type SidecarDocument } from '#config/sidecar-document'
import { readYamlDocuments } from '#config/yaml'

const HEAD = `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog, namespace: shop }
spec:
  identity:
    files: { certificate: svid.pem, key: key.pem, bundle: bundle.pem }
`
const INBOUND = `  inbound:
    - listen: 0.0.0.0:7443
      app: 127.0.0.1:8080
`
const OUTBOUND = `  outbound:
    - listen: 127.0.0.1:7101
      to: cart.internal:7443
      peer: spiffe://example.org/ns/shop/sa/cart
`

function read(text: string): SidecarDocument {
  const { documents, problems } = readYamlDocuments(text, 'postern.yaml')
  assert.deepEqual(problems, [])
  return readSidecarDocument(documents[0]!, { file: '/etc/postern/postern.yaml' })
}

function config(text: string): SidecarConfig {
  const { config, problems } = read(text)
  assert.deepEqual(problems.map(formatProblem), [])
  assert.ok(config)
  return config
}

test('the least document gets every default', () => {
  const least = config(HEAD + INBOUND)
  assert.equal(least.name, 'catalog')
  assert.equal(least.namespace, 'shop')
  assert.deepEqual(least.tls, DEFAULTS.tls)
  assert.deepEqual(least.records, DEFAULTS.records)
  assert.deepEqual(least.admin, { kind: 'unix', path: '/etc/postern/postern-admin.sock' })
  assert.deepEqual(least.health, { kind: 'tcp', host: '0.0.0.0', port: 7020 })
  assert.equal(least.drain, 30_000)
  assert.deepEqual(least.federation, [])
  assert.deepEqual(least.policies, [])
  assert.deepEqual(least.inbound[0], {
    listen: { kind: 'tcp', host: '0.0.0.0', port: 7443 },
    app: { kind: 'tcp', host: '127.0.0.1', port: 8080 },
    unsafeApp: false,
    protocol: 'http1',
    limits: DEFAULTS.limits,
    timeouts: DEFAULTS.timeouts,
    paths: { allow: new Set(), ignoreCase: false, overrideHeaders: false },
    unknownTokens: 'refuse',
    assertion: undefined,
    onExpiry: 'cut',
    plaintext: { allow: false, report: true },
  })
  assert.deepEqual(least.tokens, [])
})

test('paths are relative to the folder of the document', () => {
  const found = config(`${HEAD}${INBOUND}  policies: [policies/, /abs/p.yaml]\n  admin: unix:run/admin.sock\n`)
  assert.deepEqual(found.identity, {
    kind: 'files',
    certificate: '/etc/postern/svid.pem',
    key: '/etc/postern/key.pem',
    bundle: '/etc/postern/bundle.pem',
  })
  assert.deepEqual(found.policies, ['/etc/postern/policies', '/abs/p.yaml'])
  assert.deepEqual(found.admin, { kind: 'unix', path: '/etc/postern/run/admin.sock' })
})

test('every key that is set arrives parsed', () => {
  const found = config(`${HEAD.replace('namespace: shop', 'namespace: shop, labels: {tier: front}')}
  federation:
    partner.example: { bundle: partner.json }
  tls: { minVersion: TLSv1.2, groups: [P-256] }
  inbound:
    - listen: '[::]:7443'
      app: unix:app.sock
      protocol: http1
      limits: { connections: 7, connectionsPerPeer: 6, headBytes: 16KiB, headers: 50, streams: 9, streamsPerPeer: 8, bodyRate: 1KiB, handshakes: 3, handshakesPerSource: 2, handshakesPerTurn: 1, floodPenalty: 3s }
      timeouts: { handshake: 1s, head: 2s, idle: 1m, connect: 250ms, halfClosed: 5s }
      paths: { allow: [params, override-headers], ignoreCase: true }
      unknownTokens: refuse
  outbound:
    - listen: unix:out.sock
      hosts: [Cart.shop., '[::1]']
      to: [cart.internal:7443, '[2001:db8::1]:443']
      peer: [spiffe://example.org/ns/shop/sa/cart, spiffe://example.org/ns/shop/sa/cart-2]
  policies: one.yaml
  forwarders: [spiffe://example.org/gateway]
  records: { decisions: refused, allowed: 0.01, onOverload: refuse }
  admin: off
  health: off
  drain: 10s
`)
  assert.deepEqual(found.labels, { tier: 'front' })
  assert.deepEqual(found.federation, [{ trustDomain: 'partner.example', bundle: '/etc/postern/partner.json' }])
  assert.deepEqual(found.tls, { minVersion: 'TLSv1.2', groups: ['P-256'] })
  const inbound = found.inbound[0]!
  assert.deepEqual(inbound.listen, { kind: 'tcp', host: '::', port: 7443 })
  assert.deepEqual(inbound.app, { kind: 'unix', path: '/etc/postern/app.sock' })
  assert.deepEqual(inbound.limits, {
    connections: 7,
    connectionsPerPeer: 6,
    headBytes: 16_384,
    headers: 50,
    streams: 9,
    streamsPerPeer: 8,
    bodyRate: 1024,
    handshakes: 3,
    handshakesPerSource: 2,
    handshakesPerTurn: 1,
    floodPenalty: 3000,
  })
  assert.deepEqual(inbound.timeouts, { handshake: 1000, head: 2000, idle: 60_000, connect: 250, halfClosed: 5000 })
  assert.deepEqual(inbound.paths, { allow: new Set(['params']), ignoreCase: true, overrideHeaders: true })
  const outbound = found.outbound[0]!
  assert.deepEqual(outbound.hosts, ['cart.shop', '[::1]'])
  assert.deepEqual(outbound.to, [
    { kind: 'tcp', host: 'cart.internal', port: 7443 },
    { kind: 'tcp', host: '2001:db8::1', port: 443 },
  ])
  assert.deepEqual(
    outbound.peer.map((id) => id.serviceAccount),
    ['cart', 'cart-2'],
  )
  assert.deepEqual(
    found.forwarders.map((id) => id.uri),
    ['spiffe://example.org/gateway'],
  )
  assert.deepEqual(found.records, { decisions: 'refused', allowed: 0.01, onOverload: 'refuse' })
  assert.equal(found.admin, undefined)
  assert.equal(found.health, undefined)
  assert.equal(found.drain, 10_000)
})

test('a listener speaks HTTP/1.1, HTTP/2 or both', () => {
  for (const protocol of ['http1', 'http2', 'both']) {
    assert.equal(config(`${HEAD}${INBOUND}      protocol: ${protocol}\n`).inbound[0]!.protocol, protocol)
  }
})

test('a default stays where only its neighbour is set', () => {
  const found = config(`${HEAD}${INBOUND}      limits: { streams: 5 }\n      timeouts: { idle: 1h }\n`)
  assert.deepEqual(found.inbound[0]!.limits, { ...DEFAULTS.limits, streams: 5 })
  assert.deepEqual(found.inbound[0]!.timeouts, { ...DEFAULTS.timeouts, idle: 3_600_000 })
})

test('entries that share `listen` are told apart by their hosts', () => {
  const entry = (host: string): string => `    - { listen: 127.0.0.1:7101, hosts: [${host}], to: x:1, peer: spiffe://example.org/a }\n`
  assert.equal(config(`${HEAD}  outbound:\n${entry('a.shop')}${entry('b.shop')}`).outbound.length, 2)
})

/** What is wrong, the document, and what is reported: `line:column code message`. */
/** A document whose identity is from a CA with these keys. */
function ca(keys: string): string {
  return HEAD.replace(/files: .*/, `ca: { ${keys} }`) + INBOUND
}

const wrong: readonly (readonly [string, string, ...RegExp[]])[] = [
  ['a list for a document', '- 1\n', /1:1: .*must be a map.*ERR_CONFIG_VALUE/],
  [
    'a policy in its place',
    'apiVersion: postern.dev/v1\nkind: Policy\nspec: {}\n',
    /2:7: This is a document of kind Policy.*spec\.policies/,
  ],
  ['another kind', HEAD.replace('Sidecar', 'Sidekar') + INBOUND, /2:7: `kind` must be `Sidecar`, not `Sidekar`.*Did you mean `Sidecar`/],
  ['another version', HEAD.replace('/v1', '/v2') + INBOUND, /1:13: `apiVersion` must be `postern.dev\/v1`/],
  ['no name', HEAD.replace('name: catalog, ', '') + INBOUND, /3:11: `metadata.name` is missing.*ERR_CONFIG_MISSING_KEY/],
  [
    'an unknown key',
    `${HEAD}${INBOUND}  polices: []\n`,
    /10:3: `spec` has no key `polices`.*Did you mean `policies`.*ERR_CONFIG_UNKNOWN_KEY/,
  ],
  ['an unknown key at the top', `${HEAD}${INBOUND}status: {}\n`, /10:1: The document has no key `status`/],
  ['a key in the wrong place', `${HEAD}${INBOUND}      tls: {}\n`, /10:7: `spec.inbound\[0\]` has no key `tls`/],
  ['an empty section', `${HEAD}  inbound:\n`, /7:11: `spec.inbound` must be a list, not empty/],
  ['nothing to do', HEAD, /5:3: There is neither `spec.inbound` nor `spec.outbound`/],
  ['no identity', `${HEAD.split('  identity')[0]}${INBOUND}`, /5:3: `spec.identity` is missing/],
  ['an identity without key', HEAD.replace('key: key.pem, ', '') + INBOUND, /6:12: `spec.identity.files.key` is missing/],
  [
    'two sources of identity',
    `${HEAD}    ca: { address: "ca:7100", bundle: b.pem, attest: { oidc: { file: t } } }\n${INBOUND}`,
    /7:5: `spec.identity` has both `files` and `ca`; give exactly one of `files`, `ca`/,
  ],
  ['no source of identity', HEAD.replace(/files: .*/, '{}') + INBOUND, /6:5: `spec.identity` must have one of `files`, `ca`/],
  ['a CA without address', ca('bundle: b.pem, attest: { oidc: { file: t } }'), /6:9: `spec.identity.ca.address` is missing/],
  ['a CA without bundle', ca('address: "ca:7100", attest: { oidc: { file: t } }'), /6:9: `spec.identity.ca.bundle` is missing/],
  ['a CA without a way to attest', ca('address: "ca:7100", bundle: b.pem'), /6:9: `spec.identity.ca.attest` is missing/],
  [
    'a CA with two ways to attest',
    ca('address: "ca:7100", bundle: b.pem, attest: { oidc: { file: t }, joinToken: { file: t } }'),
    /6:\d+: `spec.identity.ca.attest` has both `oidc` and `joinToken`; give exactly one of `joinToken`, `serviceAccountToken`, `oidc`/,
  ],
  [
    'a CA with a way to attest that is none',
    ca('address: "ca:7100", bundle: b.pem, attest: { jointoken: { file: t } }'),
    /6:\d+: `spec.identity.ca.attest` has no key `jointoken`.*Did you mean `joinToken`/,
  ],
  [
    'a CA whose trust domain is written as an ID',
    ca('address: "ca:7100", trustDomain: "spiffe://Example.org", bundle: b.pem, attest: { oidc: { file: t } }'),
    /6:\d+: `spec.identity.ca.trustDomain` must be the name of a trust domain.*Did you mean `example.org`/,
  ],
  [
    'a CA at a Unix socket',
    ca('address: "unix:x", bundle: b.pem, attest: { oidc: { file: t } }'),
    /6:\d+: .*must be a TCP address with a port/,
  ],
  ['an address without port', HEAD + INBOUND.replace('0.0.0.0:7443', '0.0.0.0'), /8:15: `spec.inbound\[0\].listen` must be an address/],
  ['a Unix socket to listen on for mTLS', HEAD + INBOUND.replace('0.0.0.0:7443', 'unix:x'), /8:15: .*must be a TCP address/],
  [
    'a socket path that the system does not take',
    `${HEAD}${INBOUND}  admin: unix:${'x'.repeat(120)}\n`,
    /10:10: .*longer than the 107 bytes/,
  ],
  [
    'an app beyond this host',
    HEAD + INBOUND.replace('127.0.0.1:8080', '10.0.0.1:8080'),
    /9:12: .*neither loopback nor.*unsafeApp: true.*ERR_CONFIG_UNSAFE/,
  ],
  ['an app on every interface', HEAD + INBOUND.replace('127.0.0.1:8080', '0.0.0.0:8080'), /9:12: .*ERR_CONFIG_UNSAFE/],
  ['an app without port', HEAD + INBOUND.replace('127.0.0.1:8080', '127.0.0.1:0'), /9:12: .*needs a port/],
  ['an app that is the listener itself', HEAD + INBOUND.replace('8080', '7443'), /9:12: .*the sidecar would call itself/],
  [
    'an outbound listener for others',
    HEAD + OUTBOUND.replace('127.0.0.1', '0.0.0.0'),
    /8:15: `spec.outbound\[0\].listen` must be loopback.*ERR_CONFIG_UNSAFE/,
  ],
  ['an admin address for others', `${HEAD}${INBOUND}  admin: 0.0.0.0:7000\n`, /10:10: `spec.admin` must be loopback.*ERR_CONFIG_UNSAFE/],
  ['outbound without peer', HEAD + OUTBOUND.replace(/ {6}peer.*\n/, ''), /8:7: `spec.outbound\[0\].peer` is missing/],
  ['an empty list of peers', HEAD + OUTBOUND.replace(/peer: .*/, 'peer: []'), /10:13: .*list of at least one/],
  ['a peer that is no SPIFFE ID', HEAD + OUTBOUND.replace('spiffe://', 'https://'), /10:13: .*is no SPIFFE ID: the scheme/],
  ['a peer that is a trust domain', HEAD + OUTBOUND.replace(/org.*/, 'org'), /10:13: .*is the ID of a trust domain/],
  ['a destination that is a socket', HEAD + OUTBOUND.replace('cart.internal:7443', 'unix:/x'), /9:11: .*TCP address with a port/],
  ['a destination without port', HEAD + OUTBOUND.replace('cart.internal:7443', 'cart:0'), /9:11: .*with a port from 1/],
  ['a span without unit', `${HEAD}${INBOUND}      timeouts: { idle: 60 }\n`, /10:25: .*must be a time span.*Did you mean `60s`/],
  ['a span out of range', `${HEAD}${INBOUND}      timeouts: { handshake: 1h }\n`, /10:30: .*from 10ms to 1m/],
  ['a size without unit', `${HEAD}${INBOUND}      limits: { headBytes: 65536 }\n`, /10:28: .*must be a size.*Did you mean `65536B`/],
  ['a size out of range', `${HEAD}${INBOUND}      limits: { headBytes: 1GiB }\n`, /10:28: .*1KiB to 1MiB/],
  ['a count out of range', `${HEAD}${INBOUND}      limits: { connections: 0 }\n`, /10:30: .*whole number from 1 to 1000000/],
  ['a count as a string', `${HEAD}${INBOUND}      limits: { connections: "5" }\n`, /10:30: .*whole number/],
  ['a share above one', `${HEAD}${INBOUND}  records: { allowed: 2 }\n`, /10:23: .*number from 0 to 1/],
  ['`yes` for true', `${HEAD}${INBOUND}      unsafeApp: yes\n`, /10:18: .*`true` or `false`, not `yes`.*Did you mean `true`/],
  ['an unknown opt-in', `${HEAD}${INBOUND}      paths: { allow: [double-slashes] }\n`, /10:24: .*Did you mean `double-slash`/],
  ['an unknown group', `${HEAD}${INBOUND}  tls: { groups: [x25519] }\n`, /10:19: .*Did you mean `X25519`/],
  ['TLS 1.1', `${HEAD}${INBOUND}  tls: { minVersion: TLSv1.1 }\n`, /10:22: .*one of `TLSv1.3`, `TLSv1.2`/],
  ['a trust domain with upper case', `${HEAD}${INBOUND}  federation: { Partner.example: { bundle: b } }\n`, /10:17: .*no trust domain/],
  ['a host with a port', HEAD + OUTBOUND.replace('to:', 'hosts: ["a:80"]\n      to:'), /9:15: .*host without port/],
  [
    'shared `listen` without hosts',
    HEAD + OUTBOUND + OUTBOUND.replace('  outbound:\n', ''),
    /8:7: .*each needs `hosts`/,
    /11:7: .*each needs `hosts`/,
  ],
  [
    'the same host twice',
    `${HEAD}  outbound:\n${'    - { listen: 127.0.0.1:1, hosts: [a], to: x:1, peer: spiffe://e.org/a }\n'.repeat(2)}`,
    /9:38: `a` is among the hosts/,
  ],
  [
    'other limits for one of two entries of one listener',
    `${HEAD}  outbound:\n    - { listen: 127.0.0.1:1, hosts: [a], to: x:1, peer: spiffe://e.org/a }\n    - { listen: 127.0.0.1:1, hosts: [b], to: x:1, peer: spiffe://e.org/a, limits: { headers: 5 }, timeouts: { connect: 1s } }\n`,
    /9:83: `spec.outbound\[1\].limits` is of the listener on `127.0.0.1:1` as a whole/,
  ],
  [
    'a handshake timeout for calls, which `connect` bounds',
    `${HEAD}${OUTBOUND}      timeouts: { handshake: 1s }\n`,
    /11:19: `spec.outbound\[0\].timeouts` has no key `handshake`/,
  ],
  [
    'the same address twice',
    `${HEAD}${INBOUND}  health: 127.0.0.1:7443\n`,
    /10:11: `spec.health` is .*`spec.inbound\[0\].listen` listens already/,
  ],
  [
    'a label that is no string',
    HEAD.replace('name: catalog', 'name: catalog, labels: {a: 1}') + INBOUND,
    /3:\d+: .*must be a string.*Did you mean `"1"`/,
  ],
]
for (const [what, text, ...expected] of wrong) {
  test(`it refuses ${what}`, () => {
    const { config, problems } = read(text)
    assert.equal(config, undefined)
    const lines = problems.map(formatProblem)
    assert.equal(lines.length, expected.length, lines.join('\n'))
    for (const pattern of expected)
      assert.ok(
        lines.some((line) => new RegExp(`^postern\\.yaml:${pattern.source}`).test(line)),
        lines.join('\n'),
      )
  })
}

test('opaque TCP cannot be told from TLS by its first byte, so that it takes no callers without', () => {
  const { config, problems } = read(`${HEAD}${INBOUND}      protocol: tcp\n      plaintext: { allow: true }\n`)
  assert.equal(config, undefined)
  assert.deepEqual(
    problems.map(({ code, at }) => [code, at.line > 1]),
    [['ERR_CONFIG_VALUE', true]],
  )
  assert.match(problems[0]!.message, /`spec\.inbound\[0\]\.plaintext` is for listeners of HTTP/)
})

const fromWorkloadApi = (keys: string): string => HEAD.replace(/files: .*/, `workloadApi: ${keys}`) + INBOUND

test('an identity from a Workload API: its socket, and which of several is ours', () => {
  const { config } = read(fromWorkloadApi('{ socket: "unix:agent.sock", id: "spiffe://e.org/a", hint: internal }'))
  assert.ok(config?.identity.kind === 'workloadApi')
  assert.deepEqual(config.identity.socket, { kind: 'unix', path: '/etc/postern/agent.sock' })
  assert.equal(config.identity.id?.uri, 'spiffe://e.org/a')
  assert.equal(config.identity.hint, 'internal')
  const bare = read(fromWorkloadApi('{}')).config?.identity
  assert.deepEqual(bare, { kind: 'workloadApi', socket: undefined, id: undefined, hint: undefined })
})

test('serving the Workload API: a Unix socket, for its owner unless said', () => {
  const path = '/etc/postern/w.sock'
  assert.deepEqual(read(`${HEAD}${INBOUND}  workloadApi: { listen: unix:w.sock }\n`).config?.workloadApi, {
    listen: { kind: 'unix', path },
    access: 'owner',
  })
  const { config } = read(`${HEAD}${INBOUND}  workloadApi: { listen: unix:w.sock, access: group }\n`)
  assert.equal(config?.workloadApi?.access, 'group')
})

const wrongWorkloadApi: readonly (readonly [string, string, RegExp])[] = [
  ['a Workload API over TCP for others', fromWorkloadApi('{ socket: "10.0.0.1:80" }'), /6:\d+: .*must be loopback.*has no TLS/],
  ['an ID that is none', fromWorkloadApi('{ id: cart }'), /6:\d+: .*is no SPIFFE ID/],
  ['serving it over TCP', `${HEAD}${INBOUND}  workloadApi: { listen: "127.0.0.1:1" }\n`, /10:\d+: .*must be a Unix socket/],
  [
    'an access that is none',
    `${HEAD}${INBOUND}  workloadApi: { listen: unix:w, access: all }\n`,
    /10:\d+: .*one of `owner`, `group`, `everyone`/,
  ],
  ['the socket of another listener', `${HEAD}${INBOUND}  workloadApi: { listen: unix:postern-admin.sock }\n`, /listens already/],
  [
    'federation beside it',
    `${fromWorkloadApi('{ socket: unix:a }')}  federation: { b.org: { bundle: b.pem } }\n`,
    /10:\d+: `spec.federation` and `spec.identity.workloadApi` do not go together/,
  ],
  [
    'an identity from itself',
    `${fromWorkloadApi('{ socket: unix:w.sock }')}  workloadApi: { listen: unix:w.sock }\n`,
    /6:\d+: .*it would ask itself who it is/,
  ],
]
for (const [what, text, expected] of wrongWorkloadApi) {
  test(`Workload API: it refuses ${what}`, () => {
    const lines = read(text).problems.map(formatProblem)
    assert.equal(lines.length, 1, lines.join('\n'))
    assert.match(lines[0]!, expected)
  })
}

test('all faults of a document are reported in one run', () => {
  const { problems } = read(`apiVersion: postern.dev/v1
kind: Sidecar
metadata: {}
spec:
  identity: { files: {} }
  inbound:
    - { listen: nowhere, app: 1, limits: { x: 1 } }
  outbound:
    - { listen: 0.0.0.0:1 }
  drain: 99
`)
  assert.deepEqual(
    problems.map(({ at, code }) => `${at.line} ${code}`),
    [
      '3 ERR_CONFIG_MISSING_KEY',
      '5 ERR_CONFIG_MISSING_KEY',
      '5 ERR_CONFIG_MISSING_KEY',
      '5 ERR_CONFIG_MISSING_KEY',
      '7 ERR_CONFIG_VALUE',
      '7 ERR_CONFIG_VALUE',
      '7 ERR_CONFIG_UNKNOWN_KEY',
      '9 ERR_CONFIG_UNSAFE',
      '9 ERR_CONFIG_MISSING_KEY',
      '9 ERR_CONFIG_MISSING_KEY',
      '10 ERR_CONFIG_VALUE',
    ],
  )
})
