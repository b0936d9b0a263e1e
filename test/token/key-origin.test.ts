/** What an endpoint of keys may answer, and what is said of it. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { guardedLookup, isForbiddenAddress, urlFault } from '#token/addresses'
import { fetchDocument } from '#token/fetch-document'
import { discoveryOrigin, fileOrigin, urlOrigin } from '#token/key-origin'
import { readKeySet } from '#token/key-set'
import { type Behaviour, openKeyEndpoint } from '../fakes/key-endpoint.ts'
import { hasProgram, openssl, temporaryFolder } from '../support/openssl.ts'
import { issuerKey, keySetText } from '../support/token-issuer.ts'

const KEYS = keySetText(issuerKey('ES256', 'es'))
const PLAIN = { caFile: undefined, tokenFile: undefined, deadline: 400 }

const ANSWERS: readonly (readonly [behaviour: Behaviour, reason: ReasonCode | undefined])[] = [
  ['good', undefined],
  ['error', 'ERR_JWKS_STATUS'],
  ['silent', 'ERR_JWKS_TIMEOUT'],
  ['drips', 'ERR_JWKS_TIMEOUT'],
  ['redirect', 'ERR_JWKS_REDIRECT'],
  ['html', 'ERR_JWKS_CONTENT'],
  ['html without type', 'ERR_JWKS_MALFORMED'],
  ['compressed', 'ERR_JWKS_CONTENT'],
  ['huge', 'ERR_JWKS_TOO_LARGE'],
  ['endless', 'ERR_JWKS_TOO_LARGE'],
  ['cut', 'ERR_JWKS_UNREACHABLE'],
]

for (const [behaviour, reason] of ANSWERS) {
  test(`an endpoint that answers "${behaviour}" gives ${reason ?? 'its keys'}`, async () => {
    await using endpoint = await openKeyEndpoint(KEYS)
    endpoint.behaviour = behaviour
    // Only what must run into the deadline is given a short one.
    const deadline = reason === 'ERR_JWKS_TIMEOUT' ? 400 : 30_000
    const loaded = await urlOrigin(endpoint.keysUrl, 1000, { ...PLAIN, deadline }).load()
    const verdict = loaded.ok ? await readKeySet(loaded.value) : loaded
    assert.equal(verdict.ok ? undefined : verdict.reason, reason)
    assert.deepEqual(endpoint.asked, ['/keys'])
  })
}

test('an endpoint that is down is unreachable', async () => {
  const endpoint = await openKeyEndpoint(KEYS)
  await endpoint[Symbol.asyncDispose]()
  const loaded = await fetchDocument(endpoint.keysUrl, PLAIN)
  assert.equal(loaded.ok ? 'keys' : loaded.reason, 'ERR_JWKS_UNREACHABLE')
})

test('an address must be https, or loopback, and never link-local', () => {
  for (const url of [
    'https://login.example/keys',
    'https://10.0.0.1:6443/keys',
    'http://127.0.0.1:1/k',
    'http://[::1]/k',
    'http://localhost/',
  ]) {
    assert.equal(urlFault(url), undefined, url)
  }
  const refused = [
    'http://login.example/keys',
    'https://169.254.169.254/latest/meta-data',
    'https://[fe80::1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://[64:ff9b::169.254.169.254]/',
    'https://[fd00:ec2::254]/',
    'https://2852039166/',
    'https://0xa9.0xfe.0xa9.0xfe/',
    'https://0/',
    'https://user:secret@login.example/',
    'file:///etc/passwd',
    'ftp://127.0.0.1/',
    'http://127.0.0.1.evil.example/',
    'http://localhost@evil.example/',
    'keys',
  ]
  for (const url of refused) assert.notEqual(urlFault(url), undefined, url)
})

test('a name is judged by the addresses that the connection is then made to', async () => {
  const looked = await new Promise<unknown>((resolve) => {
    guardedLookup('localhost', { all: true }, (error, addresses) => resolve(error ?? addresses))
  })
  assert.ok(Array.isArray(looked) && looked.length > 0)
  assert.equal(isForbiddenAddress('127.0.0.1'), false)
  // A numeric name resolves to itself, as a name that was rebound would.
  const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
    guardedLookup('169.254.169.254', {}, (found) => resolve(found))
  })
  assert.equal(error?.code, 'ERR_JWKS_ADDRESS')
})

test('discovery leads to the keys, and its credential only to the issuer itself', async (t) => {
  await using issuer = await openKeyEndpoint(KEYS)
  await using elsewhere = await openKeyEndpoint(KEYS)
  const tokenFile = join(temporaryFolder(t), 'token')
  writeFileSync(tokenFile, 'abc\n')
  const origin = discoveryOrigin(issuer.origin, 1000, { ...PLAIN, deadline: 30_000, tokenFile })
  assert.deepEqual(await origin.load(), { ok: true, value: KEYS })
  assert.deepEqual(issuer.asked, ['/.well-known/openid-configuration', '/keys'])
  assert.deepEqual(issuer.authorizations, ['Bearer abc', 'Bearer abc'])
  issuer.discovery = { issuer: issuer.origin, jwks_uri: elsewhere.keysUrl }
  assert.ok((await origin.load()).ok)
  assert.deepEqual(elsewhere.authorizations, [undefined])
})

const DISCOVERIES: readonly (readonly [title: string, change: Readonly<Record<string, unknown>>, reason: ReasonCode])[] = [
  ['of another issuer', { issuer: 'https://login.example' }, 'ERR_JWKS_DISCOVERY'],
  ['without issuer', { issuer: undefined }, 'ERR_JWKS_DISCOVERY'],
  ['without keys', { jwks_uri: undefined }, 'ERR_JWKS_DISCOVERY'],
  ['that leads to a metadata service', { jwks_uri: 'https://169.254.169.254/latest' }, 'ERR_JWKS_ADDRESS'],
  ['that leads to plain http', { jwks_uri: 'http://keys.example/' }, 'ERR_JWKS_ADDRESS'],
  ['that leads to a file', { jwks_uri: 'file:///etc/passwd' }, 'ERR_JWKS_ADDRESS'],
]

for (const [title, change, reason] of DISCOVERIES) {
  test(`a discovery document ${title} is refused`, async () => {
    await using issuer = await openKeyEndpoint(KEYS)
    issuer.discovery = { ...issuer.discovery, ...change }
    const loaded = await discoveryOrigin(issuer.origin, 1000, { ...PLAIN, deadline: 30_000 }).load()
    assert.equal(loaded.ok ? 'keys' : loaded.reason, reason)
    assert.deepEqual(issuer.asked, ['/.well-known/openid-configuration'])
  })
}

test('a server is verified against the given roots, which are read for each fetch', async (t) => {
  if (!hasProgram('openssl', 'version')) return t.skip('openssl is not here')
  const folder = temporaryFolder(t)
  const at = (name: string): string => join(folder, name)
  for (const name of ['server', 'other']) {
    openssl([
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', `/CN=${name}`],
      ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`)],
    ])
  }
  const read = (name: string): string => readFileSync(at(name), 'utf8')
  await using endpoint = await openKeyEndpoint(KEYS, { key: read('server.key'), cert: read('server.pem') })
  const caFile = at('ca.pem')
  const origin = urlOrigin(endpoint.keysUrl, 1000, { ...PLAIN, deadline: 30_000, caFile })
  const reasons: (string | undefined)[] = []
  for (const content of [undefined, read('other.pem'), read('server.pem')]) {
    if (content !== undefined) writeFileSync(caFile, content)
    const loaded = await origin.load()
    reasons.push(loaded.ok ? undefined : loaded.reason)
  }
  assert.deepEqual(reasons, ['ERR_JWKS_FILE', 'ERR_JWKS_TLS', undefined])
  const system = await fetchDocument(endpoint.keysUrl, { ...PLAIN, deadline: 30_000 })
  assert.equal(system.ok ? 'keys' : system.reason, 'ERR_JWKS_TLS')
})

test('a file is read if it is one, and not too long', async (t) => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'keys.json')
  const origin = fileOrigin(path)
  const reason = async (): Promise<string | undefined> => {
    const loaded = await origin.load()
    return loaded.ok ? undefined : loaded.reason
  }
  assert.equal(await reason(), 'ERR_JWKS_FILE')
  writeFileSync(path, KEYS)
  assert.equal(await reason(), undefined)
  writeFileSync(path, ' '.repeat(300_000))
  assert.equal(await reason(), 'ERR_JWKS_TOO_LARGE')
  mkdirSync(join(folder, 'folder'))
  const loaded = await fileOrigin(join(folder, 'folder')).load()
  assert.equal(loaded.ok ? undefined : loaded.reason, 'ERR_JWKS_FILE')
})
