/** Attacks on the certificate authority (attack classes 63 to 67 and 69), over its real listener. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as x509 from '@peculiar/x509'
import { createOidcAttestor } from '#ca/attest/oidc'
import { makeJoinToken } from '#ca/attest/join-token'
import { systemClock } from '#base/clock'
import { fillIdTemplate, parseIdTemplate } from '#identity/id-template'
import { parseSpiffeId } from '#identity/spiffe-id'
import { createTrustStore } from '#pki/trust-store'
import { readBundle } from '#pki/bundle'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { createCaClient } from '#svid-source/ca-client'
import { silentLog } from '#telemetry/log'
import { createTestMesh } from '../support/authority.ts'
import { heldOf, startTestCa, TRUST_DOMAIN } from '../support/ca.ts'
import { wishfulCsr } from '../support/csr.ts'
import { dial, readToEnd } from '../support/mtls-client.ts'

const CART = '/ns/shop/sa/cart'

test('63 · a request that asks for names its caller is not entitled to', async (t) => {
  const ca = await startTestCa(t)
  const held = await ca.obtain(CART)
  const admin = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/admin`
  const wishes: readonly (readonly [string, x509.Extension])[] = [
    ['ERR_CSR_NAME', new x509.SubjectAlternativeNameExtension([{ type: 'url', value: admin }])],
    [
      'ERR_CSR_NAME',
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: `spiffe://${TRUST_DOMAIN}${CART}` },
        { type: 'url', value: admin },
      ]),
    ],
    ['ERR_CSR_NAME', new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: '*.example.org' }])],
    ['ERR_CSR_AUTHORITY', new x509.BasicConstraintsExtension(true, undefined, true)],
    ['ERR_CSR_AUTHORITY', new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign)],
  ]
  const issued = await ca.store.countIssuances()
  for (const [code, extension] of wishes) {
    const csr = (await wishfulCsr(await generatePrivateKey(), { extensions: [extension] })).toString('base64')
    const token = await ca.token(CART)
    for (const answer of [
      await ca.post('/v1/x509-svid', { csr }, { as: held }),
      await ca.post('/v1/x509-svid', { attestation: { type: 'join_token', token }, csr }),
    ]) {
      assert.deepEqual([answer.status, answer.body['code']], [403, code])
      assert.ok(
        ca.records.lines.some(
          ({ message, fields }) => message === 'refused' && fields['request_id'] === answer.body['request_id'] && fields['reason'] === code,
        ),
      )
    }
    // What was refused has cost the token nothing.
    assert.equal(
      (await ca.post('/v1/x509-svid', { attestation: { type: 'join_token', token }, csr: requestSvid(await generatePrivateKey()) })).status,
      200,
    )
  }
  assert.equal(await ca.store.countIssuances(), issued + wishes.length)
  // A subject is ignored: what comes back names the attested ID alone.
  const key = await generatePrivateKey()
  const answer = await ca.post(
    '/v1/x509-svid',
    { csr: (await wishfulCsr(key, { subject: `CN=${admin}` })).toString('base64') },
    { as: held },
  )
  const certificate = new x509.X509Certificate(answer.body['svid'][0])
  assert.equal(certificate.subject, `O=${TRUST_DOMAIN}`)
  assert.equal(readWorkloadIdentity(heldOf(answer, privateKeyPem(key))).id.uri, `spiffe://${TRUST_DOMAIN}${CART}`)
})

test("63 · the authority's own identity", async (t) => {
  const ca = await startTestCa(t)
  const answer = await ca.post('/v1/x509-svid', {
    attestation: { type: 'join_token', token: await ca.token('/postern/ca') },
    csr: requestSvid(await generatePrivateKey()),
  })
  assert.deepEqual([answer.status, answer.body['code']], [403, 'ERR_CA_ATTESTED_ID'])
})

test('64 · path tricks in the facts that an ID is made of', () => {
  const template = parseIdTemplate('spiffe://{trustDomain}/ns/{namespace}/sa/{serviceAccount}', TRUST_DOMAIN, {
    names: ['namespace', 'serviceAccount'],
  })
  assert.ok(template.ok)
  const tricks = [
    '',
    '.',
    '..',
    '/',
    'a/b',
    '../admin',
    '..%2fadmin',
    'a%2Fb',
    'a\\b',
    'a b',
    'a\0',
    'a\n',
    'ａ',
    'é',
    'a?x',
    'a#x',
    'a:b',
    'a@b',
    '{namespace}',
    'x'.repeat(254),
  ]
  for (const trick of tricks) {
    for (const gap of ['namespace', 'serviceAccount']) {
      const id = fillIdTemplate(template.value, (name) => (name === gap ? trick : 'shop'))
      assert.equal(id.ok, false, JSON.stringify(trick))
    }
  }
})

test('65 · one token, redeemed a hundred times at once', async (t) => {
  const ca = await startTestCa(t)
  const token = await ca.token(CART)
  const requests = await Promise.all(Array.from({ length: 100 }, async () => requestSvid(await generatePrivateKey())))
  const answers = await Promise.all(requests.map((csr) => ca.post('/v1/x509-svid', { attestation: { type: 'join_token', token }, csr })))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  for (const { status, body } of answers) if (status !== 200) assert.deepEqual([status, body['code']], [401, 'ERR_JOIN_TOKEN_USED'])
  assert.equal(await ca.store.countIssuances(), 1)
})

test('65 · used, expired, forged and foreign tokens each have a code and a sentence, and stand in no log', async (t) => {
  const ca = await startTestCa(t)
  const used = await ca.token(CART)
  const key = await generatePrivateKey()
  await ca.post('/v1/x509-svid', { attestation: { type: 'join_token', token: used }, csr: requestSvid(key) })
  const expired = await ca.token(CART, -1)
  const id = parseSpiffeId('spiffe://other.example/w')
  assert.ok(id.ok)
  const tokens = {
    ERR_JOIN_TOKEN_USED: used,
    ERR_JOIN_TOKEN_EXPIRED: expired,
    ERR_JOIN_TOKEN_UNKNOWN: `${used.slice(0, -4)}AAAA`,
    ERR_JOIN_TOKEN_FOREIGN: makeJoinToken(id.value, Date.now(), 60_000).text,
  }
  const details = new Set<string>()
  for (const [code, token] of Object.entries(tokens)) {
    const { status, body } = await ca.post('/v1/x509-svid', { attestation: { type: 'join_token', token }, csr: requestSvid(key) })
    assert.deepEqual([status, body['code']], [401, code])
    details.add(body['detail'])
  }
  assert.equal(details.size, 4)
  const log = JSON.stringify([ca.log.lines, ca.records.lines])
  for (const token of Object.values(tokens)) assert.equal(log.includes(token.split('.').at(-1) ?? ''), false)
  assert.equal(log.includes('PRIVATE KEY'), false)
  const database = readFileSync(ca.config.store.kind === 'sqlite' ? ca.config.store.file : '')
  assert.equal(database.includes(used.split('.').at(-1) ?? ''), false)
})

test('66 · what one caller was given never reaches another', async (t) => {
  const ca = await startTestCa(t)
  const paths = Array.from({ length: 20 }, (_, index) => `/ns/tenant-${index}/sa/app`)
  const held = await Promise.all(paths.map((path) => ca.obtain(path)))
  held.forEach((each, index) => assert.equal(readWorkloadIdentity(each).id.path, paths[index]))
  const renewed = await Promise.all(
    held.map(async (each) => ca.post('/v1/x509-svid', { csr: requestSvid(await generatePrivateKey()) }, { as: each })),
  )
  renewed.forEach((answer, index) => {
    const leaf = new x509.X509Certificate(answer.body['svid'][0])
    const san = leaf.getExtension(x509.SubjectAlternativeNameExtension)?.names.items.map(({ value }) => value)
    assert.deepEqual(san, [`spiffe://${TRUST_DOMAIN}${paths[index]}`])
  })
  const keys = new Set(renewed.map(({ body }) => new x509.X509Certificate(body['svid'][0]).publicKey.toString('hex')))
  assert.equal(keys.size, paths.length)
})

test('67 · bodies made to crash or to fill the authority', async (t) => {
  const ca = await startTestCa(t)
  const bodies = [
    '['.repeat(65_000),
    '{"a":'.repeat(10_000),
    '{"csr":"' + 'A'.repeat(60_000) + '"}',
    '{"csr":"' + '\\u0000'.repeat(9_000) + '"}',
    '{"__proto__":{"csr":"x"}}',
    '',
    '\u0000',
    '{"attestation":{"type":"join_token","token":"' + 'x'.repeat(60_000) + '"},"csr":"x"}',
  ]
  for (const body of bodies) assert.match(String((await ca.post('/v1/x509-svid', body)).status), /^40[01]$/)
  assert.equal((await ca.post('/v1/x509-svid', 'x'.repeat(1_000_000)).catch(() => ({ status: 413 }))).status, 413)
  // Raw bytes that are no HTTP, or two requests in one.
  const smuggled = 'POST /v1/trust HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'
  for (const bytes of [
    '\u0000'.repeat(20_000),
    'GET / HTTP/1.1\r\n\r\n',
    smuggled,
    `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
  ]) {
    const socket = await dial(ca.ca.port, undefined, { ca: ca.bundlePem })
    const answer = readToEnd(socket)
    socket.write(bytes, 'latin1')
    assert.match(await answer, /^HTTP\/1\.1 400 /)
  }
  assert.ok(await ca.obtain(CART), 'it serves on')
})

test('69 · a client that would speak to whatever answers in the place of the authority', async (t) => {
  const ca = await startTestCa(t)
  const [stranger, other] = [await createTestMesh(TRUST_DOMAIN), await ca.obtain(CART)]
  const address = { kind: 'tcp', host: '127.0.0.1', port: ca.ca.port } as const
  const trustOf = (pem: string) => createTrustStore(TRUST_DOMAIN, [readBundle(pem, TRUST_DOMAIN, 'test')])
  const right = createCaClient({ address, clock: systemClock })
  const wrong = createCaClient({ address, clock: systemClock })
  t.after(() => {
    right.close()
    wrong.close()
  })
  const body = { sequence: 1, instance: 'x' }
  const reply = await wrong.post('/v1/trust', body, { identity: undefined, trust: trustOf(stranger.bundlePem) })
  assert.equal(reply.ok ? '' : reply.reason, 'ERR_CA_SERVER')
  const identity = readWorkloadIdentity(other)
  assert.equal((await right.post('/v1/trust', body, { identity, trust: trustOf(ca.bundlePem) })).ok, true)
  // An issuer's keys over plain HTTP from elsewhere are not taken either.
  const id = parseIdTemplate('spiffe://{trustDomain}/{claims.sub}', TRUST_DOMAIN, { names: [], prefix: 'claims.' })
  assert.ok(id.ok)
  const attestor = createOidcAttestor(
    [{ issuer: 'http://issuer.example', jwks: { kind: 'discovery' }, audience: 'a', require: [], id: id.value }],
    { clock: systemClock, log: silentLog, random: Math.random },
  )
  t.after(() => attestor.close?.())
  const claims = Buffer.from(JSON.stringify({ iss: 'http://issuer.example', sub: 'x', aud: 'a', exp: Date.now() / 1000 + 60 })).toString(
    'base64url',
  )
  const attested = await attestor.attest(
    `${Buffer.from('{"alg":"ES256","kid":"k"}').toString('base64url')}.${claims}.${'A'.repeat(86)}`,
    Date.now(),
  )
  assert.equal(attested.ok ? '' : attested.reason, 'ERR_TOKEN_KEYS_UNAVAILABLE')
})
