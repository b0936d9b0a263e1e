import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { findKubeAccess } from '#kube/access'
import { createKubeClient } from '#kube/client'
import { resourcePath } from '#kube/objects'
import { reviewToken } from '#kube/token-review'
import { send, startKubeApi, status } from '../fakes/kube-api.ts'

function folder(files: Readonly<Record<string, string>>): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'postern-kube-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) }
}

test('in a pod, the service account says all', async () => {
  using account = folder({ 'ca.crt': 'CA', token: 'T', namespace: 'shop\n' })
  const access = await findKubeAccess({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' }, account.path)
  assert.deepEqual(access, {
    server: 'https://[fd00::1]:6443',
    ca: 'CA',
    auth: { kind: 'tokenFile', path: join(account.path, 'token') },
    namespace: 'shop',
  })
})

const KUBECONFIG = `
apiVersion: v1
kind: Config
current-context: here
contexts: [{ name: here, context: { cluster: c, user: u, namespace: shop } }]
clusters: [{ name: c, cluster: { server: "https://127.0.0.1:6443", certificate-authority: ca.crt } }]
users: [{ name: u, user: { client-certificate-data: ${Buffer.from('CERT').toString('base64')}, client-key-data: ${Buffer.from('KEY').toString('base64')} } }]
`

test('a kubeconfig gives server, authority and credentials, files beside it included', async () => {
  using files = folder({ config: KUBECONFIG, 'ca.crt': 'CA' })
  assert.deepEqual(await findKubeAccess({ KUBECONFIG: join(files.path, 'config') }), {
    server: 'https://127.0.0.1:6443',
    ca: 'CA',
    auth: { kind: 'certificate', certificate: 'CERT', key: 'KEY' },
    namespace: 'shop',
  })
})

const FAULTS: readonly (readonly [string, string, RegExp])[] = [
  ['it is not YAML', 'a: [', /Flow sequence/],
  ['the context is not in it', KUBECONFIG.replace('current-context: here', 'current-context: there'), /no context `there`/],
  ['the server is not verified', KUBECONFIG.replace('certificate-authority: ca.crt', 'insecure-skip-tls-verify: true'), /is not taken/],
  ['the server has no TLS', KUBECONFIG.replace('https://', 'http://'), /https:\/\//],
  ['the user runs a program', KUBECONFIG.replace(/user: \{ client.*\} \}/, 'user: { exec: { command: x } } }'), /`exec`/],
  ['the authority is not there', KUBECONFIG.replace('ca.crt', 'other.crt'), /other\.crt: it cannot be read \(ENOENT\)/],
]

for (const [title, text, expected] of FAULTS) {
  test(`a kubeconfig is refused in words: ${title}`, async () => {
    using files = folder({ config: text, 'ca.crt': 'CA' })
    await assert.rejects(findKubeAccess({ KUBECONFIG: join(files.path, 'config') }), expected)
  })
}

test('outside of a pod and without a kubeconfig, the message says what to set', async () => {
  await assert.rejects(findKubeAccess({}), /KUBECONFIG names no file; set it/)
})

test('paths: core and other groups, namespaces, subresources, and names that would be more than a name', () => {
  assert.equal(resourcePath({ group: '', version: 'v1', plural: 'pods', namespace: 'shop' }, 'a'), '/api/v1/namespaces/shop/pods/a')
  assert.equal(
    resourcePath({ group: 'postern.dev', version: 'v1', plural: 'policies' }, '../x', 'status'),
    '/apis/postern.dev/v1/policies/..%2Fx/status',
  )
})

const CODES: readonly (readonly [number, string])[] = [
  [401, 'ERR_KUBE_FORBIDDEN'],
  [403, 'ERR_KUBE_FORBIDDEN'],
  [404, 'ERR_KUBE_NOT_FOUND'],
  [409, 'ERR_KUBE_CONFLICT'],
  [410, 'ERR_KUBE_EXPIRED'],
  [500, 'ERR_KUBE_RESPONSE'],
]

test('what the server refuses is told by code and in its own words, HTML of a proxy cut short', async () => {
  await using api = await startKubeApi()
  await using client = Object.assign(createKubeClient(api.access, systemClock), { [Symbol.asyncDispose]: () => client.close() })
  const pods = { group: '', version: 'v1', plural: 'pods' }
  for (const [code, expected] of CODES) {
    api.intercept = (_, response) => (status(response, code, `words for ${code}`), true)
    await assert.rejects(client.get(pods, 'a'), { code: expected, message: `GET /api/v1/pods/a: ${code} words for ${code}` })
  }
  api.intercept = (_, response) => (response.writeHead(502).end(`<html>${'x'.repeat(1000)}`), true)
  await assert.rejects(client.get(pods, 'a'), (error: Error) => error.message.length < 300)
  api.intercept = (_, response) => (response.writeHead(200).end('<html>'), true)
  await assert.rejects(client.get(pods, 'a'), { code: 'ERR_KUBE_RESPONSE' })
})

test('a patch says what kind it is, and server-side apply who owns the fields', async () => {
  await using api = await startKubeApi()
  const client = createKubeClient(api.access, systemClock)
  const seen: string[] = []
  api.intercept = (request, response, body) => {
    seen.push(`${request.method} ${request.url} ${request.headers['content-type']} ${body}`)
    send(response, 200, { metadata: { name: 'a', uid: '1', resourceVersion: '2' } })
    return true
  }
  const policies = { group: 'postern.dev', version: 'v1', plural: 'policies', namespace: 'shop' }
  await client.patch(policies, 'a', { status: {} }, { type: 'merge', subresource: 'status' })
  await client.patch(policies, 'a', { spec: {} }, { type: 'apply', fieldManager: 'postern' })
  await client.close()
  const path = '/apis/postern.dev/v1/namespaces/shop/policies/a'
  assert.deepEqual(seen, [
    `PATCH ${path}/status application/merge-patch+json {"status":{}}`,
    `PATCH ${path}?fieldManager=postern&force=true application/apply-patch+yaml {"spec":{}}`,
  ])
})

test('a token is reviewed for one audience, and only a service account that is authenticated for it is somebody', async () => {
  await using api = await startKubeApi()
  const client = createKubeClient(api.access, systemClock)
  let answer: object = {}
  let asked: unknown
  api.intercept = (_, response, body) => {
    asked = JSON.parse(body)
    send(response, 201, { status: answer })
    return true
  }
  const user = {
    username: 'system:serviceaccount:shop:cart',
    extra: { 'authentication.kubernetes.io/pod-name': ['cart-1'], 'authentication.kubernetes.io/pod-uid': ['u1'] },
  }
  const table: readonly (readonly [object, unknown])[] = [
    [
      { authenticated: true, audiences: ['postern-ca'], user },
      { namespace: 'shop', serviceAccount: 'cart', podName: 'cart-1', podUid: 'u1', nodeName: '' },
    ],
    [
      { error: '[invalid bearer token, service account token has been invalidated]' },
      '[invalid bearer token, service account token has been invalidated]',
    ],
    [{}, 'the API server does not authenticate it'],
    [{ authenticated: true, user }, 'it is not meant for postern-ca'],
    [{ authenticated: true, audiences: ['other'], user }, 'it is not meant for postern-ca'],
    [{ authenticated: true, audiences: ['postern-ca'], user: { username: 'jane' } }, 'it is not that of a service account'],
    [
      { authenticated: true, audiences: ['postern-ca'], user: { username: 'system:serviceaccount:a/b:c' } },
      'it is not that of a service account',
    ],
  ]
  for (const [given, expected] of table) {
    answer = given
    assert.deepEqual(await reviewToken(client, 'secret', ['postern-ca']), expected)
  }
  assert.deepEqual(asked, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token: 'secret', audiences: ['postern-ca'] },
  })
  await client.close()
  await assert.rejects(
    reviewToken(createKubeClient({ ...api.access, server: 'http://127.0.0.1:9' }, systemClock), 'secret', ['postern-ca']),
    {
      code: 'ERR_KUBE_UNREACHABLE',
    },
  )
})
