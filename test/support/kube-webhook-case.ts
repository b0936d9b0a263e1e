/** One case of the table of `kube-cases.ts`: the webhooks, ours, as an API server calls them; registered for one namespace alone, and taken away. */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '#base/clock'
import type { InjectionSettings } from '#controller/inject/settings'
import { answerPolicyReview } from '#controller/policy-review'
import { reviewPod } from '#controller/webhook'
import type { Resource } from '#kube/objects'
import { createTestMesh } from './authority.ts'
import { ask, type Json, type Kube, policy, RULES } from './kube-questions.ts'

const SETTINGS: InjectionSettings = {
  image: 'example.org/postern:1',
  trustDomain: 'example.org',
  namespace: 'postern-system',
  caAddress: 'postern-ca.postern-system.svc:7100',
  controllerAddress: 'postern-controller.postern-system.svc:7201',
  controllerPeer: 'spiffe://example.org/ns/postern-system/sa/postern-controller',
  trustBundleSigner: undefined,
  interception: 'redirect',
  passThrough: 'allow',
  excludeNetworks: [],
  version: '1',
}

interface PodCase {
  readonly name: string
  readonly metadata?: object
  readonly spec?: object
  readonly port?: object
}

const POD_CASES: readonly PodCase[] = [
  {
    name: 'injected',
    metadata: { annotations: { 'postern.dev/log-level': 'debug' } },
    spec: { initContainers: [{ name: 'own', image: 'example.org/own:1' }] },
  },
  { name: 'bare' },
  { name: 'udp', port: { containerPort: 53, protocol: 'UDP' } },
  { name: 'opted-out', metadata: { labels: { 'postern.dev/inject': 'disabled' } } },
  { name: 'own-network', spec: { hostNetwork: true } },
  { name: 'mistaken', metadata: { annotations: { 'postern.dev/prots': '8080' } } },
]

/** @returns an answer for each, in their order */
export async function askWebhooks(kube: Kube): Promise<unknown> {
  const mesh = await createTestMesh('example.org')
  const { certificatePem, keyPem } = await mesh.issue('/ns/postern-system/sa/postern-controller', { dnsNames: ['localhost'] })
  const server = createServer({ key: keyPem, cert: certificatePem }, (incoming, response) => {
    void text(incoming).then((body) => {
      const review = JSON.parse(body) as unknown
      const answer =
        incoming.url?.startsWith('/inject') === true
          ? reviewPod(review, SETTINGS, () => 'enabled')?.answer
          : answerPolicyReview(review, systemClock.now(), 'example.org')
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
  })
  server.listen(0, 'localhost')
  await once(server, 'listening')
  const url = `https://localhost:${(server.address() as AddressInfo).port}`
  const admission = (plural: string): Resource => ({ group: 'admissionregistration.k8s.io', version: 'v1', plural })
  const name = `postern-${kube.namespace}`
  const hook = (of: string, path: string, rule: object, failurePolicy: string): object => ({
    webhooks: [
      {
        name: of,
        clientConfig: { url: `${url}${path}`, caBundle: Buffer.from(mesh.bundlePem).toString('base64') },
        failurePolicy,
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        timeoutSeconds: 5,
        namespaceSelector: { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [kube.namespace] }] },
        rules: [rule],
      },
    ],
  })
  const podRule = { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' }
  const policyRule = {
    operations: ['CREATE', 'UPDATE'],
    apiGroups: ['postern.dev'],
    apiVersions: ['v1'],
    resources: ['policies'],
    scope: '*',
  }
  const configurations = [
    [admission('mutatingwebhookconfigurations'), 'MutatingWebhookConfiguration', hook('inject.postern.dev', '/inject', podRule, 'Fail')],
    [
      admission('validatingwebhookconfigurations'),
      'ValidatingWebhookConfiguration',
      hook('policies.postern.dev', '/policies', policyRule, 'Ignore'),
    ],
  ] as const
  const pods = `/api/v1/namespaces/${kube.namespace}/pods?dryRun=All`
  const policies = `/apis/postern.dev/v1/namespaces/${kube.namespace}/policies?dryRun=All`
  const podOf = ({ name: of, metadata = {}, spec = {}, port = { containerPort: 8080 } }: PodCase): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: of, ...metadata },
    spec: { containers: [{ name: 'app', image: 'example.org/app:1', ports: [port] }], ...spec },
  })
  const tail = (message: unknown): string => /(denied the request|failed calling webhook).*/.exec(String(message))?.[0] ?? String(message)
  try {
    for (const [resource, kind, body] of configurations) {
      await kube.client.create(resource, { apiVersion: 'admissionregistration.k8s.io/v1', kind, metadata: { name }, ...body })
    }
    // A configuration acts some milliseconds after it was taken.
    while ((await ask(kube, 'POST', pods, podOf({ name: 'try', metadata: { annotations: { 'postern.dev/none': '' } } }))).status !== 422)
      await delay(20)
    while ((await ask(kube, 'POST', policies, policy('try', { rules: [{ allow: { and: [{ none: 1 }] } }] }))).status === 201)
      await delay(20)
    const answers: unknown[] = []
    for (const one of POD_CASES) {
      const { status, body, warnings } = await ask(kube, 'POST', pods, podOf(one))
      if (status !== 201) {
        answers.push([one.name, status, tail(body['message'])])
        continue
      }
      const { metadata, spec } = body as unknown as { metadata: { annotations?: Json }; spec: { initContainers?: { name: string }[] } }
      const own = (spec.initContainers ?? []).map((container) => container.name)
      answers.push([one.name, status, own, metadata.annotations?.['postern.dev/sidecar'] !== undefined, warnings])
    }
    const typo = await ask(kube, 'POST', policies, policy('typo', { rules: [{ allow: { and: [{ http_pth: '/' }] } }] }))
    answers.push(['policy with a typo', typo.status, /Did you mean `http_path`/.exec(String(typo.body['message']))?.[0]])
    const open = await ask(kube, 'POST', policies, policy('open', { rules: [{ name: 'all', allow: { and: [{ http_path: '/' }] } }] }))
    answers.push(['open policy', open.status, open.warnings.some((warning) => warning.includes('names no caller'))])
    server.closeAllConnections()
    server.close()
    const late = await ask(kube, 'POST', pods, podOf({ name: 'late' }))
    answers.push(['nobody answers', late.status, /failed calling webhook "[^"]+"/.exec(String(late.body['message']))?.[0]])
    answers.push(['nobody answers for policies', (await ask(kube, 'POST', policies, policy('late', { rules: RULES }))).status])
    return answers
  } finally {
    server.closeAllConnections()
    server.close()
    for (const [resource] of configurations) await kube.client.delete(resource, name).catch(() => {})
  }
}
