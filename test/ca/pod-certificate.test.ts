/** POST /v1/x509-svid-for (docs/ca-api.md): who may ask in the name of pods, and what cannot be had that way. */
import assert from 'node:assert/strict'
import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { CA_DEFAULTS } from '#config/ca-config'
import { parseIdTemplate } from '#identity/id-template'
import { generatePrivateKey } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { type CaAnswer, startTestCa, type TestCa, TRUST_DOMAIN } from '../support/ca.ts'

const CONTROLLER = '/ns/postern-system/sa/postern-controller'
const UID = '39df8b8a-0000-4000-8000-000000000001'
const POD = { namespace: 'shop', name: 'cart-7b-x', uid: UID, service_account: 'cart', node: 'node-1' }
const HOUR = 3_600_000

function template(text: string = CA_DEFAULTS.serviceAccountId) {
  const parsed = parseIdTemplate(text, TRUST_DOMAIN, { names: ['namespace', 'serviceAccount'] })
  assert.ok(parsed.ok)
  return parsed.value
}

function start(t: TestContext, more: object = {}): Promise<TestCa> {
  const podCertificate = { by: [`spiffe://${TRUST_DOMAIN}${CONTROLLER}`], id: template() }
  return startTestCa(t, {
    config: { attest: { joinToken: { max: 86_400_000 }, serviceAccountToken: [], oidc: [], podCertificate }, ...more },
  })
}

async function ask(ca: TestCa, as: string, more: object = {}): Promise<CaAnswer> {
  const csr = requestSvid(await generatePrivateKey())
  return ca.post('/v1/x509-svid-for', { pod: POD, csr, max_ttl: 86_400, ...more }, { as: await ca.obtain(as) })
}

function leafOf({ body }: CaAnswer): X509Certificate {
  return new X509Certificate(body['svid'][0])
}

test('the controller gets a certificate for a pod, whose record says of which pod, and who saw it', async (t) => {
  const ca = await start(t)
  const answer = await ask(ca, CONTROLLER)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(leafOf(answer).subjectAltName, `URI:spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`)
  const [issuance] = await ca.store.issuances({ limit: 1 })
  assert.equal(issuance?.attestedBy, 'podCertificate')
  assert.equal(issuance?.evidence, `pod shop/cart-7b-x ${UID} of node node-1, seen by spiffe://${TRUST_DOMAIN}${CONTROLLER}`)
})

test('it lasts as long as others do, but never longer than asked from its beginning on, nor shorter than an hour', async (t) => {
  const ca = await start(t)
  for (const [longest, life] of [
    [86_400, CA_DEFAULTS.svid.x509],
    [7200, 2 * HOUR],
    [3600, HOUR],
  ] as const) {
    const leaf = leafOf(await ask(ca, CONTROLLER, { max_ttl: longest }))
    assert.equal(leaf.validToDate.getTime() - leaf.validFromDate.getTime(), life)
  }
  const short = await start(t, { svid: { x509: 600_000, jwt: 60_000, max: 86_400_000 } })
  const leaf = leafOf(await ask(short, CONTROLLER))
  assert.equal(leaf.validToDate.getTime() - leaf.validFromDate.getTime(), HOUR)
})

test('nobody else may ask: not another workload, not the pod itself, not without a certificate, and nobody where the document names none', async (t) => {
  const ca = await start(t)
  for (const as of ['/ns/shop/sa/cart', '/ns/postern-system/sa/default', '/ns/postern-systems/sa/postern-controller']) {
    const refused = await ask(ca, as)
    assert.deepEqual([refused.status, refused.body['code']], [403, 'ERR_CA_VOUCHER'], as)
  }
  const csr = requestSvid(await generatePrivateKey())
  const anonymous = await ca.post('/v1/x509-svid-for', { pod: POD, csr, max_ttl: 3600 })
  assert.deepEqual([anonymous.status, anonymous.body['code']], [401, 'ERR_CA_NO_CERTIFICATE'])
  const without = await startTestCa(t)
  assert.equal((await ask(without, CONTROLLER)).body['code'], 'ERR_CA_VOUCHER')
})

test('who vouches cannot vouch for itself, a revoked identity stays revoked, and no name makes more than one segment', async (t) => {
  const ca = await start(t)
  const itself = await ask(ca, CONTROLLER, { pod: { ...POD, namespace: 'postern-system', service_account: 'postern-controller' } })
  assert.deepEqual([itself.status, itself.body['code']], [403, 'ERR_CA_ATTESTED_ID'])
  for (const name of ['../ca', 'a/b', 'A', '', 7]) {
    const refused = await ask(ca, CONTROLLER, { pod: { ...POD, service_account: name } })
    assert.deepEqual([refused.status, refused.body['code']], [400, 'ERR_CA_REQUEST'], String(name))
  }
  await ca.store.revoke({
    kind: 'id',
    value: `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`,
    authority: '',
    reason: 'test',
    revokedAt: Date.now(),
    until: Infinity,
  })
  await ca.ca.refresh()
  const revoked = await ask(ca, CONTROLLER)
  assert.deepEqual([revoked.status, revoked.body['code']], [403, 'ERR_SVID_REVOKED'])
})

test('bodies that are not such a request are refused in words', async (t) => {
  const ca = await start(t)
  for (const [more, detail] of [
    [{ pod: undefined }, /`pod` is not an object/],
    [{ max_ttl: 3599 }, /at least 3600/],
    [{ max_ttl: 'long' }, /`max_ttl`/],
    [{ csr: undefined }, /either `csr`, or/],
    [{ public_key: 'AA==', proof_of_possession: 'AA==' }, /either `csr`, or/],
    [{ csr: undefined, public_key: 'AA==', proof_of_possession: 'AA==' }, /public key/],
  ] as const) {
    const refused = await ask(ca, CONTROLLER, more)
    assert.equal(refused.status, 400, refused.text)
    assert.match(refused.body['detail'], detail)
  }
})

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
const OLDER: readonly (readonly [string, KeyObject, (message: Buffer, key: KeyObject) => Buffer])[] = [
  ['P-256', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, (message, key) => sign('sha256', message, key)],
  ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, (message, key) => sign('sha256', message, key)],
  ['Ed25519', generateKeyPairSync('ed25519').privateKey, (message, key) => sign(null, message, key)],
  ['RSA-3072', generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey, (message, key) => sign('sha256', message, { key, ...PSS })],
]

test('the older form, a key with a signature over the UID of the pod, is taken for every kind of key, and only with its own signature', async (t) => {
  const ca = await start(t)
  const as = await ca.obtain(CONTROLLER)
  for (const [name, key, make] of OLDER) {
    const publicKey = spkiOf(key)
    const body = (proof: Buffer): object => ({
      pod: POD,
      public_key: publicKey.toString('base64'),
      proof_of_possession: proof.toString('base64'),
      max_ttl: 3600,
    })
    const answer = await ca.post('/v1/x509-svid-for', body(make(Buffer.from(UID), key)), { as })
    assert.equal(answer.status, 200, `${name}: ${answer.text}`)
    assert.deepEqual(leafOf(answer).publicKey.export({ type: 'spki', format: 'der' }), publicKey)
    for (const proof of [make(Buffer.from('another'), key), Buffer.alloc(64), Buffer.alloc(0)]) {
      const refused = await ca.post('/v1/x509-svid-for', body(proof), { as })
      assert.deepEqual([refused.status, refused.body['code']], [400, 'ERR_CSR_SIGNATURE'], name)
    }
  }
})

function spkiOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' })
}
