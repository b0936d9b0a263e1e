/** PodCertificateRequests answered: a fake API server, and the authority itself. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import { CA_DEFAULTS } from '#config/ca-config'
import type { Identity } from '#config/snapshot'
import { type PodCertificateSigner, startPodCertificateSigner } from '#controller/pod-certificates/signer'
import { parseIdTemplate } from '#identity/id-template'
import { createKubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { readBundle } from '#pki/bundle'
import { publicKeyOf, spkiOf } from '#pki/keys'
import { decodeRequest } from '#pki/svid-request'
import { requestSvid } from '#pki/request-svid'
import { createTrustStore } from '#pki/trust-store'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { createCaClient } from '#svid-source/ca-client'
import { startTestCa, type TestCa, TRUST_DOMAIN } from '../support/ca.ts'
import { createRecordingLog } from '../support/recording-log.ts'
import { type KubeApiFake, send, startKubeApi, status } from '../fakes/kube-api.ts'

const SIGNER = 'postern.dev/identity'
const CONTROLLER = '/ns/postern-system/sa/postern-controller'
const HOUR = 3_600_000
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const weak = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey
const csr = decodeRequest(requestSvid(key))
assert.ok(csr.ok)
const CSR = csr.value.toString('base64')

const core = (plural: string, namespace?: string): Resource => ({
  group: '',
  version: 'v1',
  plural,
  ...(namespace !== undefined && { namespace }),
})
const requestsOf = (version: string): Resource => ({ group: 'certificates.k8s.io', version, plural: 'podcertificaterequests' })

interface Written {
  readonly path: string
  readonly metadata: { readonly resourceVersion: string }
  readonly status: {
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[]
    readonly certificateChain?: string
    readonly notBefore?: string
    readonly notAfter?: string
    readonly beginRefreshAt?: string
  }
}

interface Cluster extends AsyncDisposable {
  readonly api: KubeApiFake
  readonly ca: TestCa
  readonly uids: { readonly pod: string; readonly account: string; readonly node: string }
  readonly log: ReturnType<typeof createRecordingLog>
  /** Makes the request, and waits for what is written. */
  ask(spec?: object, namespace?: string): Promise<Written>
  /** How the next writes of a status are answered, before it is taken. */
  refuseWrites: number
  readonly written: Written[]
  readonly signer: PodCertificateSigner
}

interface Options {
  readonly version?: 'v1' | 'v1beta1'
  readonly ca?: object
  readonly replicas?: readonly string[]
  readonly turn?: number
  readonly before?: (ca: TestCa) => Promise<void>
}

async function start(t: TestContext, { version = 'v1', ca: config = {}, replicas = [], turn = 0, before }: Options = {}): Promise<Cluster> {
  const id = parseIdTemplate(CA_DEFAULTS.serviceAccountId, TRUST_DOMAIN, { names: ['namespace', 'serviceAccount'] })
  assert.ok(id.ok)
  const podCertificate = { by: [`spiffe://${TRUST_DOMAIN}${CONTROLLER}`], id: id.value }
  const attest = { joinToken: { max: 86_400_000 }, serviceAccountToken: [], oidc: [], podCertificate }
  const ca = await startTestCa(t, { config: { attest, ...config } })
  await before?.(ca)
  const held = await ca.obtain(CONTROLLER)
  const bundle = readBundle(held.bundlePem, TRUST_DOMAIN, 'bundle.pem')
  const identity: Identity = { identity: readWorkloadIdentity(held), trust: createTrustStore(TRUST_DOMAIN, [bundle]) }

  const api = await startKubeApi(50)
  const events = new EventEmitter()
  const written: Written[] = []
  const log = createRecordingLog()
  let made = 0
  const cluster = { refuseWrites: 0 }
  api.intercept = (request, response, body) => {
    const path = request.url ?? ''
    const served = /^\/apis\/certificates\.k8s\.io\/(v1|v1beta1)$/.exec(path)?.[1]
    if (served !== undefined) {
      // v1 is served by all; the older one has the resource only where the test is about it.
      const resources = served === 'v1' || served === version ? [{ name: 'podcertificaterequests' }] : [{ name: 'clustertrustbundles' }]
      send(response, 200, { resources })
      return true
    }
    const name = /\/podcertificaterequests\/([^/]+)\/status$/.exec(path)?.[1]
    if (request.method !== 'PATCH' || name === undefined) {
      // What is not there is not there, in any namespace.
      if (request.method !== 'GET' || !/\/(?:pods|serviceaccounts|nodes)\/[^/]+$/.test(path)) return false
      if (exists(api, path)) return false
      status(response, 404, 'not found')
      return true
    }
    if (cluster.refuseWrites > 0) {
      cluster.refuseWrites--
      status(response, 503, 'etcd is away')
      return true
    }
    const one: Written = { path, ...(JSON.parse(body) as Omit<Written, 'path'>) }
    written.push(one)
    const stored = api.objects(requestsOf(version)).find(({ metadata }) => metadata.name === name)
    api.put(requestsOf(version), { ...stored, metadata: { ...stored?.metadata, name }, status: one.status })
    send(response, 200, stored)
    events.emit(name, one)
    return true
  }
  const account = api.put(core('serviceaccounts', 'shop'), { metadata: { name: 'cart', namespace: 'shop' } })
  const node = api.put(core('nodes'), { metadata: { name: 'node-1' } })
  const volumes = [{ name: 'postern', projected: { sources: [{ podCertificate: { signerName: SIGNER } }] } }]
  const spec = { serviceAccountName: 'cart', nodeName: 'node-1', volumes }
  const pod = api.put(core('pods', 'shop'), { metadata: { name: 'cart-1', namespace: 'shop' }, spec })
  api.put(core('pods', 'shop'), { metadata: { name: 'ended', namespace: 'shop' }, spec, status: { phase: 'Succeeded' } })
  api.put(core('pods', 'shop'), {
    metadata: { name: 'plain', namespace: 'shop' },
    spec: { ...spec, volumes: [{ name: 'x', emptyDir: {} }] },
  })
  api.put(core('pods', 'shop'), { metadata: { name: 'waiting', namespace: 'shop' }, spec: { ...spec, nodeName: undefined } })

  const authority = createCaClient({ address: { kind: 'tcp', host: '127.0.0.1', port: ca.ca.port }, clock: systemClock })
  const client = createKubeClient(api.access, systemClock)
  const signer = startPodCertificateSigner({
    client,
    authority,
    feed: { current: identity },
    signer: SIGNER,
    replica: 'one',
    replicas: () => replicas,
    clock: systemClock,
    random: () => 0.5,
    log,
    onFault: () => {},
    onOutcome: () => {},
    backoff: { first: 10, max: 50 },
    turn,
  })
  const uids = { pod: pod.metadata.uid, account: account.metadata.uid, node: node.metadata.uid }
  return Object.assign(cluster, {
    api,
    ca,
    uids,
    log,
    written,
    signer,
    async ask(more: object = {}, namespace = 'shop') {
      const name = `request-${++made}`
      const answered = once(events, name)
      api.put(requestsOf(version), { metadata: { name, namespace }, spec: { ...specOf(uids), ...more } })
      const [one] = (await answered) as [Written]
      return one
    },
    async [Symbol.asyncDispose]() {
      signer.close()
      authority.close()
      await client.close()
      await api[Symbol.asyncDispose]()
    },
  })
}

function exists(api: KubeApiFake, path: string): boolean {
  const [, namespace, plural = '', name] = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?([a-z]+)\/([^/]+)$/.exec(path) ?? []
  return api.objects(core(plural, namespace)).some(({ metadata }: KubeObject) => metadata.name === name)
}

function specOf(uids: Cluster['uids']): object {
  return {
    signerName: SIGNER,
    podName: 'cart-1',
    podUID: uids.pod,
    serviceAccountName: 'cart',
    serviceAccountUID: uids.account,
    nodeName: 'node-1',
    nodeUID: uids.node,
    maxExpirationSeconds: 86_400,
    stubPKCS10Request: CSR,
  }
}

test('a pod gets a certificate of its own key and account, with the times that the API server holds against it', async (t) => {
  await using cluster = await start(t)
  const { path, status: said } = await cluster.ask()
  assert.equal(path, '/apis/certificates.k8s.io/v1/namespaces/shop/podcertificaterequests/request-1/status')
  assert.deepEqual(
    said.conditions.map(({ type, status: is, reason }) => [type, is, reason]),
    [['Issued', 'True', 'Issued']],
  )
  const leaf = new X509Certificate(said.certificateChain ?? '')
  assert.equal(leaf.subjectAltName, `URI:spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`)
  assert.ok(leaf.publicKey.equals(publicKeyOf(key)))
  assert.equal(said.certificateChain?.match(/BEGIN CERTIFICATE/g)?.length, 2, 'leaf and intermediate')
  assert.equal(Date.parse(said.notBefore ?? ''), leaf.validFromDate.getTime())
  assert.equal(Date.parse(said.notAfter ?? ''), leaf.validToDate.getTime())
  const begin = Date.parse(said.beginRefreshAt ?? '')
  assert.ok(Math.abs(begin - (leaf.validFromDate.getTime() + leaf.validToDate.getTime()) / 2) < 1000, 'at half of its life')
})

test('an hour at most is exactly an hour, and its refresh begins in the middle', async (t) => {
  await using cluster = await start(t)
  const { status: said } = await cluster.ask({ maxExpirationSeconds: 3600 })
  const [from, to, refresh] = [said.notBefore, said.notAfter, said.beginRefreshAt].map((time) => Date.parse(time ?? ''))
  assert.equal((to ?? 0) - (from ?? 0), HOUR)
  assert.equal((refresh ?? 0) - (from ?? 0), HOUR / 2)
})

const DENIED: readonly (readonly [what: string, spec: (uids: Cluster['uids']) => object, reason: string, message: RegExp])[] = [
  ['a pod that is not there', () => ({ podName: 'ghost' }), 'PodNotFound', /the pod shop\/ghost is not there/],
  ['a pod of that name from before', () => ({ podUID: 'uid-0' }), 'PodMismatch', /its UID is not uid-0/],
  ['a pod that has ended', () => ({ podName: 'ended' }), 'PodMismatch', /another one/],
  ['another account', () => ({ serviceAccountName: 'admin' }), 'ServiceAccountMismatch', /is of the service account cart, not admin/],
  ['an account of that name from before', () => ({ serviceAccountUID: 'uid-0' }), 'ServiceAccountMismatch', /UID differs/],
  ['another node', () => ({ nodeName: 'node-2' }), 'NodeMismatch', /is on node-1, not on node-2/],
  ['a node of that name from before', () => ({ nodeUID: 'uid-0' }), 'NodeMismatch', /UID differs/],
  ['annotations', () => ({ unverifiedUserAnnotations: { 'a/b': 'c' } }), 'InvalidUnverifiedUserAnnotations', /a\/b/],
  ['no key', () => ({ stubPKCS10Request: null }), 'InvalidRequest', /no key/],
  ['something that is no request', () => ({ stubPKCS10Request: 'AAAA' }), 'InvalidRequest', /ERR_CSR_UNREADABLE/],
  ['a key with a broken proof', () => ({ stubPKCS10Request: broken() }), 'InvalidRequest', /ERR_CSR_SIGNATURE/],
]

test('what is not so is denied, with a reason and a sentence', async (t) => {
  await using cluster = await start(t)
  for (const [what, spec, reason, message] of DENIED) {
    const { status: said } = await cluster.ask(spec(cluster.uids))
    const [condition] = said.conditions
    assert.deepEqual([condition?.type, condition?.status, condition?.reason], ['Denied', 'True', reason], what)
    assert.match(condition?.message ?? '', message, what)
    assert.equal(said.certificateChain, undefined)
  }
  assert.equal(await cluster.ca.store.countIssuances(), 1, 'the controller’s own alone')
})

test('pods that ended, that mount no such volume, that are on no node yet, or are of another namespace are denied', async (t) => {
  await using cluster = await start(t)
  const uidOf = (name: string): string =>
    cluster.api.objects(core('pods', 'shop')).find(({ metadata }) => metadata.name === name)?.metadata.uid ?? ''
  for (const [name, reason] of [
    ['ended', 'PodEnded'],
    ['plain', 'NotMounted'],
    ['waiting', 'NodeMismatch'],
  ] as const) {
    const { status: said } = await cluster.ask({ podName: name, podUID: uidOf(name) })
    assert.equal(said.conditions[0]?.reason, reason)
  }
  const foreign = await cluster.ask({}, 'other')
  assert.equal(foreign.status.conditions[0]?.reason, 'PodNotFound')
  assert.match(foreign.status.conditions[0]?.message ?? '', /the pod other\/cart-1 is not there/)
})

test('the form of Kubernetes 1.35 is watched and answered as v1beta1, for as long as that is served; both forms are taken there', async (t) => {
  await using cluster = await start(t, { version: 'v1beta1' })
  const older = (by: typeof key): object => ({
    stubPKCS10Request: undefined,
    pkixPublicKey: spkiOf(by).toString('base64'),
    proofOfPossession: sign('sha256', Buffer.from(cluster.uids.pod), by).toString('base64'),
  })
  const first = await cluster.ask(older(key))
  assert.match(first.path, /^\/apis\/certificates\.k8s\.io\/v1beta1\//)
  assert.equal(first.status.conditions[0]?.type, 'Issued', first.status.conditions[0]?.message ?? '')
  assert.ok(new X509Certificate(first.status.certificateChain ?? '').publicKey.equals(publicKeyOf(key)))
  assert.equal((await cluster.ask()).status.conditions[0]?.type, 'Issued')
  const stolen = await cluster.ask({ ...older(key), proofOfPossession: sign('sha256', Buffer.from('uid-0'), key).toString('base64') })
  assert.deepEqual([stolen.status.conditions[0]?.type, stolen.status.conditions[0]?.reason], ['Denied', 'InvalidRequest'])
  const unsupported = await cluster.ask(older(weak))
  assert.deepEqual([unsupported.status.conditions[0]?.type, unsupported.status.conditions[0]?.reason], ['Denied', 'UnsupportedKeyType'])
})

test('an authority that refuses is a denial with its words; one that gives less than an hour is a failure', async (t) => {
  await using cluster = await start(t)
  await cluster.ca.store.revoke({
    kind: 'id',
    value: `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`,
    authority: '',
    reason: 'test',
    revokedAt: Date.now(),
    until: Infinity,
  })
  await cluster.ca.ca.refresh()
  const [denied] = (await cluster.ask()).status.conditions
  assert.deepEqual([denied?.type, denied?.reason], ['Denied', 'RefusedByAuthority'])
  assert.match(denied?.message ?? '', /ERR_SVID_REVOKED/)
  await using brief = await start(t, { ca: { svid: { x509: HOUR / 2, jwt: 60_000, max: HOUR / 2 } } })
  const [failed] = (await brief.ask()).status.conditions
  assert.deepEqual([failed?.type, failed?.reason], ['Failed', 'LifetimeTooShort'])
})

test('while the API server or the authority cannot be asked, requests wait, and are answered when it can', async (t) => {
  await using cluster = await start(t)
  cluster.refuseWrites = 2
  const { status: said } = await cluster.ask()
  assert.equal(said.conditions[0]?.type, 'Issued')
  assert.equal(cluster.refuseWrites, 0)
  assert.equal(cluster.log.lines.filter(({ message }) => message === 'a pod waits for its certificate').length, 2)
})

test('what is answered already, or of another signer, is left alone', async (t) => {
  await using cluster = await start(t)
  const spec = specOf(cluster.uids)
  cluster.api.put(requestsOf('v1'), {
    metadata: { name: 'foreign', namespace: 'shop' },
    spec: { ...spec, signerName: 'example.com/other' },
  })
  cluster.api.put(requestsOf('v1'), {
    metadata: { name: 'done', namespace: 'shop' },
    spec,
    status: { conditions: [{ type: 'Denied', status: 'True' }] },
  })
  await cluster.ask()
  assert.deepEqual(
    cluster.written.map(({ path }) => path.split('/').at(-2)),
    ['request-1'],
  )
})

test('of several replicas one answers; another takes over when its turn has come and nothing was written', async (t) => {
  await using alone = await start(t, { replicas: ['one', 'two', 'three'], turn: 50 })
  // The others do not exist: whatever the order, the request is answered.
  for (let each = 0; each < 4; each++) assert.equal((await alone.ask()).status.conditions[0]?.type, 'Issued')
  await using last = await start(t, { replicas: Array.from({ length: 64 }, (_, index) => `other-${index}`), turn: 3_600_000 })
  const theirs = { metadata: { name: 'theirs', namespace: 'shop' }, spec: specOf(last.uids) }
  last.api.put(requestsOf('v1'), theirs)
  await until(() => last.signer.pending === 1)
  last.api.put(requestsOf('v1'), { ...theirs, status: { conditions: [{ type: 'Issued', status: 'True' }] } })
  await until(() => last.signer.pending === 0)
  assert.deepEqual(last.written, [], 'answered by another within its turn')
})

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5))
}

function broken(): string {
  const bytes = Buffer.from(CSR, 'base64')
  const at = bytes.length - 1
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes.toString('base64')
}
