/** Service-account and OIDC tokens as proof of identity: real tokens, real key files, the ID from verified facts alone. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import { ok, refusal } from '#base/result'
import type { OidcConfig, ServiceAccountTokenConfig } from '#config/ca-config'
import { createOidcAttestor } from '#ca/attest/oidc'
import { createServiceAccountAttestor, type ReviewToken } from '#ca/attest/service-account-token'
import { type IdTemplate, parseIdTemplate } from '#identity/id-template'
import { silentLog } from '#telemetry/log'
import { type IssuerKey, issuerKey, keySetText, serviceAccountClaims, signToken } from '../../support/token-issuer.ts'

const ISSUER = 'https://kubernetes.default.svc.cluster.local'
const CI = 'https://ci.example'
const surroundings = { clock: systemClock, log: silentLog, random: Math.random }
const clusterKey = issuerKey('RS256', 'cluster')
const ciKey = issuerKey('ES256', 'ci')

function template(text: string, names: readonly string[], prefix?: string): IdTemplate {
  const parsed = parseIdTemplate(text, 'example.org', { names, ...(prefix !== undefined && { prefix }) })
  assert.ok(parsed.ok)
  return parsed.value
}

function keyFile(t: TestContext, ...keys: IssuerKey[]): { readonly kind: 'file'; readonly file: string } {
  const folder = mkdtempSync(join(tmpdir(), 'postern-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'jwks.json')
  writeFileSync(file, keySetText(...keys))
  return { kind: 'file', file }
}

function serviceAccount(verifiedBy: ServiceAccountTokenConfig['verifiedBy']): ServiceAccountTokenConfig {
  return {
    issuer: ISSUER,
    verifiedBy,
    audience: 'postern-ca',
    id: template('spiffe://{trustDomain}/ns/{namespace}/sa/{serviceAccount}', ['namespace', 'serviceAccount']),
  }
}

const noReview = (): ReviewToken => {
  throw new Error('asks nobody')
}

function claims(namespace = 'shop', name = 'cart', more = {}) {
  return serviceAccountClaims(Date.now(), namespace, name, { aud: ['postern-ca'], ...more })
}

test('a service-account token is its namespace and name, by the keys of its issuer, and the record says which way', async (t) => {
  const attestor = createServiceAccountAttestor([serviceAccount(keyFile(t, clusterKey))], {
    ...surroundings,
    trustDomain: 'example.org',
    reviewFor: noReview,
  })
  t.after(() => attestor.close?.())
  const attested = await attestor.attest(signToken(clusterKey, claims()), Date.now())
  assert.ok(attested.ok, JSON.stringify(attested))
  assert.equal(attested.value.id.uri, 'spiffe://example.org/ns/shop/sa/cart')
  assert.equal(attested.value.by, 'serviceAccountToken')
  assert.equal(attested.value.evidence, `${ISSUER} system:serviceaccount:shop:cart pod cart-0 by its keys`)
})

test('a service-account token that is over, forged, of another audience or of another cluster has a code of its own', async (t) => {
  const attestor = createServiceAccountAttestor([serviceAccount(keyFile(t, clusterKey))], {
    ...surroundings,
    trustDomain: 'example.org',
    reviewFor: noReview,
  })
  t.after(() => attestor.close?.())
  const seconds = Math.floor(Date.now() / 1000)
  const outcomes = {
    expired: signToken(clusterKey, claims('shop', 'cart', { exp: seconds - 1 })),
    forged: signToken(issuerKey('RS256', 'cluster'), claims()),
    audience: signToken(clusterKey, claims('shop', 'cart', { aud: ['catalog'] })),
    foreign: signToken(clusterKey, claims('shop', 'cart', { iss: 'https://other.cluster' })),
    unsigned: `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims())).toString('base64url')}.`,
    disagreeing: signToken(clusterKey, { ...claims(), sub: 'system:serviceaccount:kube-system:admin' }),
    legacy: signToken(clusterKey, claims('shop', 'cart', { exp: undefined })),
  }
  const codes: Record<string, string> = {}
  for (const [name, token] of Object.entries(outcomes)) {
    const attested = await attestor.attest(token, Date.now())
    codes[name] = attested.ok ? 'accepted' : attested.reason
  }
  assert.deepEqual(codes, {
    expired: 'ERR_TOKEN_EXPIRED',
    forged: 'ERR_TOKEN_SIGNATURE',
    audience: 'ERR_TOKEN_AUDIENCE',
    foreign: 'ERR_TOKEN_ISSUER_UNKNOWN',
    unsigned: 'ERR_TOKEN_ALGORITHM',
    disagreeing: 'ERR_TOKEN_SUBJECT',
    legacy: 'ERR_TOKEN_NO_EXPIRY',
  })
})

test('with TokenReview the API server decides, and what it says is all that counts', async () => {
  const asked: string[] = []
  const review: ReviewToken = async (token, audience) => {
    asked.push(audience)
    return token === 'good'
      ? ok({ namespace: 'shop', serviceAccount: 'cart', podName: 'cart-0' })
      : refusal('ERR_CA_TOKEN_REVIEW', 'the pod is gone')
  }
  const config = serviceAccount({ kind: 'tokenReview', server: 'https://x', token: '/t', ca: '/c' })
  const attestor = createServiceAccountAttestor([config], { ...surroundings, trustDomain: 'example.org', reviewFor: () => review })
  const good = await attestor.attest('good', Date.now())
  assert.ok(good.ok)
  assert.equal(good.value.id.uri, 'spiffe://example.org/ns/shop/sa/cart')
  assert.match(good.value.evidence, /by TokenReview$/)
  const bad = await attestor.attest(signToken(clusterKey, claims()), Date.now())
  assert.equal(bad.ok ? '' : bad.reason, 'ERR_CA_TOKEN_REVIEW')
  assert.deepEqual(asked, ['postern-ca', 'postern-ca'])
})

test('two clusters are told apart, and the reason is that of the cluster that the token is of', async (t) => {
  const other = issuerKey('ES256', 'other')
  const second = {
    ...serviceAccount(keyFile(t, other)),
    issuer: 'https://second',
    id: template('spiffe://{trustDomain}/second/{namespace}/{serviceAccount}', ['namespace', 'serviceAccount']),
  }
  const attestor = createServiceAccountAttestor([serviceAccount(keyFile(t, clusterKey)), second], {
    ...surroundings,
    trustDomain: 'example.org',
    reviewFor: noReview,
  })
  t.after(() => attestor.close?.())
  const attested = await attestor.attest(signToken(other, claims('a', 'b', { iss: 'https://second' })), Date.now())
  assert.equal(attested.ok && attested.value.id.path, '/second/a/b')
  const expired = await attestor.attest(signToken(clusterKey, claims('a', 'b', { exp: 1 })), Date.now())
  assert.equal(expired.ok ? '' : expired.reason, 'ERR_TOKEN_EXPIRED')
})

function oidc(t: TestContext, more: Partial<OidcConfig> = {}): OidcConfig {
  return {
    issuer: CI,
    jwks: keyFile(t, ciKey),
    audience: 'postern-ca',
    require: [],
    id: template('spiffe://{trustDomain}/ci/{claims.project.name}/{claims.ref}', [], 'claims.'),
    ...more,
  }
}

function ciClaims(more = {}) {
  return {
    iss: CI,
    sub: 'job-1',
    aud: 'postern-ca',
    exp: Math.floor(Date.now() / 1000) + 600,
    ref: 'main',
    project: { name: 'shop' },
    protected: true,
    ...more,
  }
}

test('an OIDC token is what its mapping makes of its claims, by path or under their whole name', async (t) => {
  const attestor = createOidcAttestor([oidc(t)], surroundings)
  t.after(() => attestor.close?.())
  for (const [more, path] of [
    [{}, '/ci/shop/main'],
    [{ 'project.name': 'whole' }, '/ci/whole/main'],
    [{ ref: 7 }, '/ci/shop/7'],
  ] as const) {
    const attested = await attestor.attest(signToken(ciKey, ciClaims(more)), Date.now())
    assert.ok(attested.ok, JSON.stringify(attested))
    assert.equal(attested.value.id.path, path)
    assert.equal(attested.value.evidence, `${CI} job-1`)
  }
})

test('a claim that is absent, no text, or more than one segment makes no ID', async (t) => {
  const attestor = createOidcAttestor([oidc(t)], surroundings)
  t.after(() => attestor.close?.())
  for (const more of [
    { ref: undefined },
    { ref: '' },
    { ref: ['main'] },
    { ref: { a: 1 } },
    { ref: 1.5 },
    { ref: 'a/b' },
    { ref: '..' },
    { ref: '.' },
    { ref: 'a%2fb' },
    { ref: 'ä' },
    { ref: 'a\0b' },
    { ref: 'x'.repeat(300) },
    { project: { __proto__: { name: 'shop' } } },
  ]) {
    const attested = await attestor.attest(signToken(ciKey, ciClaims(more)), Date.now())
    assert.equal(attested.ok ? `accepted ${JSON.stringify(more)}` : attested.reason, 'ERR_CA_ATTESTED_ID')
  }
})

test('claims that are required must be there with one of their values', async (t) => {
  const require = [
    { claim: 'ref', values: ['main', 'release'] },
    { claim: 'protected', values: ['true'] },
  ]
  const attestor = createOidcAttestor([oidc(t, { require })], surroundings)
  t.after(() => attestor.close?.())
  assert.ok((await attestor.attest(signToken(ciKey, ciClaims()), Date.now())).ok)
  for (const more of [{ ref: 'feature' }, { protected: false }, { protected: undefined }]) {
    const attested = await attestor.attest(signToken(ciKey, ciClaims(more)), Date.now())
    assert.equal(attested.ok ? 'accepted' : attested.reason, 'ERR_CA_ATTESTED_ID')
  }
})
