/** Bearer tokens that are forged, confused, malformed or stolen, and key endpoints that lie (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openKeyEndpoint } from '../fakes/key-endpoint.ts'
import { get, startProbe } from '../support/probe.ts'
import { runSidecar } from '../support/sidecar.ts'
import { encode, issuerKey, keySetText, serviceAccountClaims, signToken, signWithSecret } from '../support/token-issuer.ts'

const ISSUER = 'https://kubernetes.default.svc.cluster.local'
const es = issuerKey('ES256', 'es')
const rs = issuerKey('RS256', 'rs')
const KEYS = keySetText(es, rs)
/** Whoever is nobody is let in everywhere but at `/user`: so a token that is taken for none shows. */
const POLICY = '- allow: { and: [{ http_path: /user }, { authenticated_user: true }] }\n- allow: { and: [http_path: /open] }\n'

function issuers(jwks = 'file: jwks.json'): string {
  return `  tokens:\n    - { issuer: "${ISSUER}", audiences: [catalog], kind: serviceAccount, jwks: { ${jwks} } }\n`
}

function open(more: { readonly spec?: string; readonly keys?: string; readonly policy?: string; readonly inbound?: string } = {}) {
  const prepare = (dir: string): void => writeFileSync(join(dir, 'jwks.json'), more.keys ?? KEYS)
  return startProbe({ policy: POLICY, spec: issuers(), ...more, prepare })
}

function withToken(token: string, path = '/open'): string {
  return get(path, `authorization: Bearer ${token}`)
}

function claims(more: Readonly<Record<string, unknown>> = {}) {
  return serviceAccountClaims(Date.now(), 'shop', 'cart', more)
}

const good = (): string => signToken(es, claims())

test('39 · algorithms that the token chooses: none, HMAC with a public key, the default of a library', async () => {
  await using probe = await open()
  assert.equal((await probe.send(withToken(good(), '/user'))).status, 200)
  const [, body = '', mac = ''] = good().split('.')
  const pem = rs.privateKey.export({ type: 'pkcs8', format: 'pem' })
  const forged: readonly (readonly [string, string])[] = [
    [`${encode('{"alg":"none"}')}.${body}.`, 'ERR_TOKEN_ALGORITHM'],
    [`${encode('{"alg":"nOnE"}')}.${body}.${mac}`, 'ERR_TOKEN_ALGORITHM'],
    [`${encode('{"typ":"JWT"}')}.${body}.${mac}`, 'ERR_TOKEN_ALGORITHM'],
    [signWithSecret(JSON.stringify(rs.jwk), claims(), { kid: 'rs' }), 'ERR_TOKEN_ALGORITHM'],
    [signWithSecret(pem, claims(), { kid: 'rs', alg: 'RS256' }), 'ERR_TOKEN_SIGNATURE'],
    [signWithSecret('', claims(), { alg: 'HS512' }), 'ERR_TOKEN_ALGORITHM'],
    [signToken(rs, claims(), { kid: 'es' }), 'ERR_TOKEN_ALGORITHM'],
    [signToken({ ...rs, alg: 'PS256' }, claims()), 'ERR_TOKEN_ALGORITHM'],
    [`${encode('{"alg":"ES256","kid":"es"}')}.${body}.${Buffer.alloc(64).toString('base64url')}`, 'ERR_TOKEN_SIGNATURE'],
    [signToken(issuerKey('ES256', 'own'), claims(), { jwk: es.jwk, jku: 'https://evil.example', kid: 'own' }), 'ERR_TOKEN_KEY_UNKNOWN'],
  ]
  for (const [token, reason] of forged) {
    const seen = await probe.send(withToken(token))
    assert.deepEqual([seen.status, seen.reason, seen.app], [401, reason, ''], token)
  }
  // A set that offers a symmetric key offers nothing.
  const secret = Buffer.alloc(32, 7)
  await using symmetric = await open({
    keys: JSON.stringify({ keys: [es.jwk, { kty: 'oct', k: secret.toString('base64url'), kid: 'h', alg: 'HS256' }] }),
  })
  assert.equal((await symmetric.send(withToken(signWithSecret(secret, claims(), { kid: 'h' })))).reason, 'ERR_TOKEN_ALGORITHM')
})

test('40 · a token of an unknown issuer that falls through as none', async () => {
  await using probe = await open()
  for (const iss of ['https://evil.example', `${ISSUER}/`, ISSUER.toUpperCase(), '', null, 0, [ISSUER], { a: ISSUER }, undefined]) {
    const seen = await probe.send(withToken(signToken(es, claims({ iss }))))
    assert.deepEqual([seen.status, seen.reason, seen.app], [401, 'ERR_TOKEN_ISSUER_UNKNOWN', ''], JSON.stringify(iss))
  }
  for (const [line, reason] of [
    ['authorization: Bearer', 'ERR_TOKEN_SCHEME'],
    ['authorization: Bearer ', 'ERR_TOKEN_SCHEME'],
    ['authorization:', 'ERR_TOKEN_SCHEME'],
    ['authorization: Basic YTpi', 'ERR_TOKEN_SCHEME'],
    ['authorization: Bearer x', 'ERR_TOKEN_MALFORMED'],
    [`authorization: Bearer ${good()},`, 'ERR_TOKEN_MALFORMED'],
  ] as const) {
    const seen = await probe.send(get('/open', line))
    assert.deepEqual([seen.status, seen.reason, seen.app], [401, reason, ''], line)
  }
  const twice = await probe.send(get('/open', `authorization: Bearer ${good()}`, `authorization: Bearer ${good()}`))
  assert.deepEqual([twice.status, twice.app], [400, ''])
  // Where tokens of others are passed to the app, those that claim a configured issuer are not.
  await using passing = await open({ inbound: '      unknownTokens: pass\n' })
  const [, body = ''] = good().split('.')
  for (const token of [`${encode('{"alg":"none"}')}.${body}.`, signWithSecret('x', claims(), {}), `x.${body}`, `${good()}=`]) {
    const seen = await passing.send(withToken(token))
    assert.deepEqual([seen.status, seen.app], [401, ''], token)
  }
})

test('41 · keys that cannot be fetched, and keys to fall back to', async () => {
  await using endpoint = await openKeyEndpoint(KEYS)
  endpoint.behaviour = 'error'
  await using probe = await open({ spec: issuers(`url: "${endpoint.keysUrl}"`) })
  for (const token of [good(), signToken(issuerKey('RS256', 'default'), claims()), signWithSecret('secret', claims(), {})]) {
    const seen = await probe.send(withToken(token))
    assert.deepEqual([seen.status, seen.app], [401, ''])
  }
  assert.equal((await probe.send(withToken(good()))).reason, 'ERR_TOKEN_KEYS_UNAVAILABLE')
})

test('42 · addresses of keys that lead elsewhere: metadata services, redirects, documents of another issuer', async () => {
  await using endpoint = await openKeyEndpoint(KEYS)
  endpoint.behaviour = 'redirect'
  await using probe = await open({ spec: issuers(`url: "${endpoint.keysUrl}"`) })
  assert.equal((await probe.send(withToken(good()))).status, 401)
  assert.ok(!endpoint.asked.includes('/elsewhere'))
  for (const url of ['https://169.254.169.254/keys', 'http://keys.example/', 'https://[fe80::1]/k', 'https://2852039166/']) {
    const starting = runSidecar({ spec: issuers(`url: "${url}"`) })
    await assert.rejects(starting, (error: Error) => /jwks\.url/.test(`${error.message} ${JSON.stringify(error)}`), url)
  }
  endpoint.behaviour = 'good'
  for (const jwksUri of ['https://169.254.169.254/keys', 'https://[::ffff:a9fe:a9fe]/', 'file:///etc/passwd', 'http://keys.example/']) {
    endpoint.discovery = { issuer: endpoint.origin, jwks_uri: jwksUri }
    await using lied = await open({
      spec: `  tokens:\n    - { issuer: "${endpoint.origin}", audiences: [catalog], kind: oidc }\n`,
    })
    const seen = await lied.send(withToken(signToken(es, claims({ iss: endpoint.origin }))))
    assert.deepEqual([seen.status, seen.reason], [401, 'ERR_TOKEN_KEYS_UNAVAILABLE'])
    assert.match(
      lied.sidecar.source
        .status()
        .map(({ error }) => error ?? '')
        .join(),
      /ERR_JWKS_ADDRESS/,
      jwksUri,
    )
  }
})

test('43 · tokens that are malformed, large or mutated', async () => {
  await using probe = await open()
  const token = good()
  const [head = '', body = '', mac = ''] = token.split('.')
  const odd = [
    '.',
    '..',
    '.'.repeat(50_000),
    'a'.repeat(60_000),
    `${head}.${body}.${'A'.repeat(9000)}`,
    `${encode('{')}.${body}.${mac}`,
    `${encode('null')}.${body}.${mac}`,
    `${encode('[]')}.${body}.${mac}`,
    `${encode('{"alg":{"toString":"x"}}')}.${body}.${mac}`,
    `${Buffer.from([0xff, 0xfe]).toString('base64url')}.${body}.${mac}`,
    `${head}.${encode('{"iss":')}.${mac}`,
    `${head}.${Buffer.from([0xc0, 0x80]).toString('base64url')}.${mac}`,
    ...Array.from({ length: 40 }, (_, index) => {
      const at = Math.floor((index * token.length) / 40)
      return `${token.slice(0, at)}${token[at] === 'x' ? 'y' : 'x'}${token.slice(at + 1)}`
    }),
  ]
  for (const text of odd) {
    const seen = await probe.send(withToken(text))
    assert.deepEqual([seen.status, seen.app], [401, ''], text.slice(0, 80))
  }
  assert.equal((await probe.send(withToken(token, '/user'))).status, 200)
})

test('44 · claims that nest deep, and claims that are properties of objects', async () => {
  await using probe = await open({
    policy: '- allow: { and: [{ claim/constructor/name: Object }] }\n- allow: { and: [{ claim/__proto__/admin: true }] }\n',
  })
  const text = JSON.stringify(claims())
  const deep = signToken(es, text.replace('{', `{"a":${'['.repeat(2500)}${']'.repeat(2500)},`))
  assert.equal((await probe.send(withToken(deep))).reason, 'ERR_TOKEN_TOO_LARGE')
  assert.equal((await probe.send(withToken(good()))).reason, 'ERR_POLICY_NO_ALLOW')
  const polluting = signToken(es, text.replace('{', '{"__proto__":{"isAdmin":true},'))
  assert.equal((await probe.send(withToken(polluting))).reason, 'ERR_POLICY_NO_ALLOW')
  assert.equal(({} as { isAdmin?: boolean }).isAdmin, undefined)
  // It is a claim where a token has it, and only there.
  const named = signToken(es, text.replace('{', '{"__proto__":{"admin":true},'))
  assert.equal((await probe.send(withToken(named))).status, 200)
  assert.equal((await probe.send(withToken(good()))).status, 403)
})

test('45 · tokens that are taken for one another, and decisions that outlive them', async () => {
  await using probe = await open({ policy: '- allow: { and: [{ token/service_account: cart }, { token_is_peer: true }] }\n' })
  const cart = await probe.sidecar.mesh.issue('/ns/shop/sa/cart')
  const other = signToken(es, serviceAccountClaims(Date.now(), 'shop', 'other', { jti: 'x' }))
  const own = signToken(es, claims({ jti: 'x' }))
  const [head = '', body = '', mac = ''] = own.split('.')
  const [, otherBody = '', otherMac = ''] = other.split('.')
  for (let round = 0; round < 2; round++) {
    assert.equal((await probe.send(withToken(own), cart)).status, 200)
    assert.equal((await probe.send(withToken(other), cart)).status, 403)
    assert.equal((await probe.send(withToken(`${head}.${otherBody}.${mac}`), cart)).reason, 'ERR_TOKEN_SIGNATURE')
    assert.equal((await probe.send(withToken(`${head}.${body}.${otherMac}`), cart)).reason, 'ERR_TOKEN_SIGNATURE')
    // The same token of another caller is decided by itself.
    assert.equal((await probe.send(withToken(own))).status, 403)
  }
  const dying = signToken(es, claims({ exp: Math.floor(Date.now() / 1000) + 2 }))
  assert.equal((await probe.send(withToken(dying), cart)).status, 200)
  for (;;) {
    const seen = await probe.send(withToken(dying), cart)
    if (seen.status === 200) continue
    assert.deepEqual([seen.status, seen.reason], [401, 'ERR_TOKEN_EXPIRED'])
    break
  }
})

test('46 · tokens without an end, without an audience, or of another service', async () => {
  await using probe = await open()
  const seconds = Math.floor(Date.now() / 1000)
  const cases: readonly (readonly [Readonly<Record<string, unknown>>, string])[] = [
    [{ exp: undefined }, 'ERR_TOKEN_NO_EXPIRY'],
    [{ exp: null }, 'ERR_TOKEN_NO_EXPIRY'],
    [{ exp: `${seconds + 60}` }, 'ERR_TOKEN_NO_EXPIRY'],
    [{ exp: seconds - 1 }, 'ERR_TOKEN_EXPIRED'],
    [{ exp: -1 }, 'ERR_TOKEN_EXPIRED'],
    [{ nbf: seconds + 60 }, 'ERR_TOKEN_NOT_YET_VALID'],
    [{ aud: undefined }, 'ERR_TOKEN_AUDIENCE'],
    [{ aud: [] }, 'ERR_TOKEN_AUDIENCE'],
    [{ aud: 'catalogue' }, 'ERR_TOKEN_AUDIENCE'],
    [{ aud: ['cat', 'alog'] }, 'ERR_TOKEN_AUDIENCE'],
    [{ aud: { catalog: true } }, 'ERR_TOKEN_AUDIENCE'],
    [{ sub: 'system:serviceaccount:shop:admin' }, 'ERR_TOKEN_SUBJECT'],
    [{ sub: 'system:serviceaccount:shop:cart:x' }, 'ERR_TOKEN_SUBJECT'],
  ]
  for (const [change, reason] of cases) {
    const seen = await probe.send(withToken(signToken(es, claims(change))))
    assert.deepEqual([seen.status, seen.reason, seen.app], [401, reason, ''], JSON.stringify(change))
  }
})
