/** How pods of labelled namespaces come by their sidecars: a webhook of the controller, or a policy that the API server carries out itself. */
import type { InjectionSettings } from './inject/settings.ts'
import { injectionPolicy } from './injection-policy.ts'
import { type KubeManifest, meta } from './manifest.ts'
import { WEBHOOK_NAME } from './webhook-bundle.ts'

export interface InjectionOptions {
  readonly trustDomain: string
  readonly namespace: string
  readonly image: string
  readonly interception: 'redirect' | 'loopback'
  readonly passThrough: 'allow' | 'refuse'
  readonly excludeNetworks: readonly string[]
  readonly trustBundle: string | undefined
  readonly podCertificates?: boolean
  readonly injection?: 'webhook' | 'policy'
  readonly version?: string
}

/** A webhook for pods, or the policy in its place; and one for policies, which refuses nothing when it is away. */
export function injectionManifests(options: InjectionOptions): readonly KubeManifest[] {
  const { namespace, injection = 'webhook' } = options
  // Namespaces of the system can never match, so that a cluster comes up without us.
  const pods = {
    namespaceSelector: {
      matchExpressions: [
        { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-system', 'kube-public', 'kube-node-lease', namespace] },
        { key: 'postern.dev/inject', operator: 'In', values: ['enabled'] },
      ],
    },
    objectSelector: { matchExpressions: [{ key: 'postern.dev/inject', operator: 'NotIn', values: ['disabled'] }] },
  }
  const mutating = injection === 'policy' ? injectionPolicy(settingsOf(options), pods) : [injectionWebhook(namespace, pods)]
  return [...mutating, policyWebhook(namespace)]
}

const COMMON = { admissionReviewVersions: ['v1'], sideEffects: 'None', timeoutSeconds: 5 }

function clientConfig(namespace: string, path: string): object {
  return { service: { name: 'postern-controller', namespace, path, port: 443 } }
}

function injectionWebhook(namespace: string, pods: object): KubeManifest {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: meta(WEBHOOK_NAME),
    webhooks: [
      {
        ...COMMON,
        name: 'inject.postern.dev',
        clientConfig: clientConfig(namespace, '/inject'),
        // A pod without its sidecar would be open: better none.
        failurePolicy: 'Fail',
        reinvocationPolicy: 'IfNeeded',
        ...pods,
        rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' }],
      },
    ],
  }
}

function policyWebhook(namespace: string): KubeManifest {
  const resources = ['policies', 'clusterpolicies', 'trustdomains']
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: meta(WEBHOOK_NAME),
    webhooks: [
      {
        ...COMMON,
        name: 'policies.postern.dev',
        clientConfig: clientConfig(namespace, '/policies'),
        // What slips through is refused by the compiler, and the status says so.
        failurePolicy: 'Ignore',
        rules: [{ operations: ['CREATE', 'UPDATE'], apiGroups: ['postern.dev'], apiVersions: ['v1'], resources, scope: '*' }],
      },
    ],
  }
}

function settingsOf(options: InjectionOptions): InjectionSettings {
  const { trustDomain, namespace, image, interception, passThrough, excludeNetworks, trustBundle, podCertificates = false } = options
  return {
    image,
    trustDomain,
    namespace,
    caAddress: `postern-ca.${namespace}.svc:7100`,
    controllerAddress: `postern-controller.${namespace}.svc:7201`,
    controllerPeer: `spiffe://${trustDomain}/ns/${namespace}/sa/postern-controller`,
    trustBundleSigner: trustBundle,
    podCertificate: podCertificates,
    interception,
    passThrough,
    excludeNetworks,
    version: options.version ?? '',
  }
}
