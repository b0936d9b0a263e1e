/** Everything that the mesh needs in a cluster, as objects: what `postern install` prints. Each rule of RBAC says what it is for. */
import { customResources } from './crds.ts'
import { injectionManifests } from './injection-manifests.ts'
import { type KubeManifest, meta, PART_OF } from './manifest.ts'
import { WEBHOOK_NAME } from './webhook-bundle.ts'

export interface InstallOptions {
  readonly trustDomain: string
  readonly namespace: string
  readonly image: string
  /** Files of an authority as `postern certs init` makes it, PEM. The root's key is not among them. */
  readonly authority: { readonly root: string; readonly intermediate: string; readonly intermediateKey: string; readonly bundle: string }
  readonly interception: 'redirect' | 'loopback'
  readonly passThrough: 'allow' | 'refuse'
  readonly excludeNetworks: readonly string[]
  /** ClusterTrustBundles of this signer instead of ConfigMaps. */
  readonly trustBundle: string | undefined
  /** Pods get their certificates of that signer by PodCertificateRequests. */
  readonly podCertificates?: boolean
  /** `policy`: injected by the API server itself (MutatingAdmissionPolicy, Kubernetes 1.36), all pods alike. Default webhook. */
  readonly injection?: 'webhook' | 'policy'
  /** Of the sidecars that a policy injects. */
  readonly version?: string
  /** Of the CA's store: a claim that outlives the pod, or, for trials, nothing that does. */
  readonly storage: { readonly kind: 'claim'; readonly size: string } | { readonly kind: 'none' }
  readonly replicas: number
}

const CA_DATA = '/var/lib/postern'
const CONFIG = '/etc/postern'
const AUTHORITY = '/etc/postern-authority'

export function meshManifests(options: InstallOptions): readonly KubeManifest[] {
  const { namespace } = options
  return [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels: { ...PART_OF, 'pod-security.kubernetes.io/enforce': 'restricted' } },
    },
    ...(customResources() as readonly KubeManifest[]),
    ...certificateAuthority(options),
    ...controller(options),
    ...injectionManifests(options),
  ]
}

function config(name: string, namespace: string, file: string, document: object): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: meta(name, namespace),
    data: { [file]: `${JSON.stringify(document, undefined, 2)}\n` },
  }
}

function certificateAuthority({
  trustDomain,
  namespace,
  image,
  authority,
  storage,
  podCertificates,
}: InstallOptions): readonly KubeManifest[] {
  const name = 'postern-ca'
  const controllerId = `spiffe://${trustDomain}/ns/${namespace}/sa/postern-controller`
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: meta(name, namespace) },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: meta(name),
      rules: [
        // Whether a service-account token is good, and its pod still there.
        { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
      ],
    },
    binding(name, namespace),
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: meta('postern-authority', namespace),
      type: 'Opaque',
      stringData: {
        'root.pem': authority.root,
        'intermediate.pem': authority.intermediate,
        'intermediate-key.pem': authority.intermediateKey,
      },
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: meta('postern-ca-bundle', namespace), data: { 'bundle.pem': authority.bundle } },
    config(name, namespace, 'ca.yaml', {
      apiVersion: 'postern.dev/v1',
      kind: 'CertificateAuthority',
      spec: {
        trustDomain,
        listen: '[::]:7100',
        health: '[::]:7120',
        store: { sqlite: `${CA_DATA}/ca.db` },
        keys: `file:${CA_DATA}/keys`,
        authority: AUTHORITY,
        svid: { dnsNames: { [controllerId]: [`postern-controller.${namespace}.svc`] } },
        attest: {
          serviceAccountToken: { tokenReview: {}, audience: 'postern-ca' },
          ...(podCertificates === true && { podCertificate: { by: controllerId } }),
        },
      },
    }),
    service(name, namespace, [{ name: 'api', port: 7100 }]),
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: meta(name, namespace),
      spec: {
        serviceName: name,
        replicas: 1,
        selector: { matchLabels: { 'app.kubernetes.io/name': name } },
        template: {
          metadata: { labels: { ...PART_OF, 'app.kubernetes.io/name': name } },
          spec: {
            serviceAccountName: name,
            securityContext: POD_SECURITY,
            containers: [
              {
                name: 'ca',
                image,
                args: ['ca', 'run', '--config', `${CONFIG}/ca.yaml`, '--new-store'],
                ports: [{ name: 'api', containerPort: 7100 }],
                ...probes(7120),
                resources: { requests: { cpu: '50m', memory: '96Mi' }, limits: { memory: '512Mi' } },
                securityContext: CONTAINER_SECURITY,
                volumeMounts: [
                  { name: 'config', mountPath: CONFIG, readOnly: true },
                  { name: 'authority', mountPath: AUTHORITY, readOnly: true },
                  { name: 'data', mountPath: CA_DATA },
                ],
              },
            ],
            volumes: [
              { name: 'config', configMap: { name } },
              { name: 'authority', secret: { secretName: 'postern-authority', defaultMode: 0o440 } },
              ...(storage.kind === 'none' ? [{ name: 'data', emptyDir: {} }] : []),
            ],
          },
        },
        ...(storage.kind === 'claim' && {
          volumeClaimTemplates: [
            { metadata: { name: 'data' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: storage.size } } } },
          ],
        }),
      },
    },
  ]
}

function controller(options: InstallOptions): readonly KubeManifest[] {
  const { trustDomain, namespace, image, trustBundle, replicas } = options
  const name = 'postern-controller'
  const own = [
    { name: 'webhook', port: 443, targetPort: 7200 },
    { name: 'snapshots', port: 7201 },
  ]
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: meta(name, namespace) },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: meta(name),
      rules: controllerRules(trustBundle, options.podCertificates === true),
    },
    binding(name, namespace),
    config(name, namespace, 'controller.yaml', {
      apiVersion: 'postern.dev/v1',
      kind: 'Controller',
      metadata: { namespace },
      spec: {
        trustDomain,
        identity: {
          ca: {
            address: `postern-ca.${namespace}.svc:7100`,
            bundle: `${CONFIG}/bundle.pem`,
            attest: { serviceAccountToken: { file: `${CONFIG}/token` } },
          },
        },
        injection: {
          image,
          interception: options.interception,
          passThrough: options.passThrough,
          ...(options.excludeNetworks.length > 0 && { excludeNetworks: options.excludeNetworks }),
          ...(trustBundle !== undefined && { trustBundle }),
          ...(options.podCertificates === true && { podCertificate: true }),
        },
      },
    }),
    service(name, namespace, own),
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: meta(name, namespace),
      spec: {
        replicas,
        selector: { matchLabels: { 'app.kubernetes.io/name': name } },
        template: {
          metadata: { labels: { ...PART_OF, 'app.kubernetes.io/name': name } },
          spec: {
            serviceAccountName: name,
            securityContext: POD_SECURITY,
            containers: [
              {
                name: 'controller',
                image,
                args: ['controller', '--config', `${CONFIG}/controller.yaml`],
                env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
                ports: [
                  { name: 'webhook', containerPort: 7200 },
                  { name: 'snapshots', containerPort: 7201 },
                ],
                ...probes(7020),
                resources: { requests: { cpu: '50m', memory: '96Mi' }, limits: { memory: '512Mi' } },
                securityContext: CONTAINER_SECURITY,
                volumeMounts: [{ name: 'config', mountPath: CONFIG, readOnly: true }],
              },
            ],
            volumes: [
              {
                name: 'config',
                projected: {
                  defaultMode: 0o444,
                  sources: [
                    { configMap: { name } },
                    { configMap: { name: 'postern-ca-bundle' } },
                    { serviceAccountToken: { audience: 'postern-ca', expirationSeconds: 3600, path: 'token' } },
                  ],
                },
              },
            ],
          },
        },
      },
    },
    ...(replicas > 1
      ? [
          {
            apiVersion: 'policy/v1',
            kind: 'PodDisruptionBudget',
            metadata: meta(name, namespace),
            spec: { minAvailable: 1, selector: { matchLabels: { 'app.kubernetes.io/name': name } } },
          },
        ]
      : []),
  ]
}

function controllerRules(trustBundle: string | undefined, podCertificates: boolean): readonly object[] {
  const certificates = 'certificates.k8s.io'
  return [
    // Who is behind which service, and which of them have sidecars; which namespaces are injected.
    { apiGroups: [''], resources: ['pods', 'services', 'namespaces'], verbs: ['get', 'list', 'watch'] },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['get', 'list', 'watch'] },
    // What sidecars are given.
    { apiGroups: ['postern.dev'], resources: ['policies', 'clusterpolicies', 'trustdomains'], verbs: ['get', 'list', 'watch'] },
    // How it stands with each policy.
    {
      apiGroups: ['postern.dev'],
      resources: ['policies/status', 'clusterpolicies/status', 'trustdomains/status'],
      verbs: ['get', 'patch'],
    },
    // Keeps the API server's trust in our own webhook, and in no other, up to date.
    {
      apiGroups: ['admissionregistration.k8s.io'],
      resources: ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'],
      resourceNames: [WEBHOOK_NAME],
      verbs: ['get', 'patch'],
    },
    ...(trustBundle === undefined
      ? [
          // The trust bundle in every injected namespace, for pods to mount.
          { apiGroups: [''], resources: ['configmaps'], verbs: ['create'] },
          { apiGroups: [''], resources: ['configmaps'], resourceNames: ['postern-ca-bundle'], verbs: ['get', 'patch'] },
        ]
      : [
          // The trust bundle of the mesh, for pods to mount.
          { apiGroups: [certificates], resources: ['clustertrustbundles'], verbs: ['create'] },
          {
            apiGroups: [certificates],
            resources: ['clustertrustbundles'],
            resourceNames: [`${trustBundle.replace('/', ':')}:bundle`],
            verbs: ['get', 'patch'],
          },
          { apiGroups: [certificates], resources: ['signers'], resourceNames: [trustBundle], verbs: ['attest'] },
          ...(podCertificates ? signerRules(trustBundle) : []),
        ]),
  ]
}

function signerRules(signer: string): readonly object[] {
  const certificates = 'certificates.k8s.io'
  return [
    // Which pods wait for a certificate, and what becomes of their requests.
    { apiGroups: [certificates], resources: ['podcertificaterequests'], verbs: ['get', 'list', 'watch'] },
    { apiGroups: [certificates], resources: ['podcertificaterequests/status'], verbs: ['patch'] },
    // For our own signer, and no other.
    { apiGroups: [certificates], resources: ['signers'], resourceNames: [signer], verbs: ['sign'] },
    // Whether a request is the pod's, account's and node's that it names: the API server asks only where a node does.
    { apiGroups: [''], resources: ['serviceaccounts', 'nodes'], verbs: ['get'] },
  ]
}

const POD_SECURITY = {
  runAsNonRoot: true,
  runAsUser: 65_532,
  runAsGroup: 65_532,
  fsGroup: 65_532,
  seccompProfile: { type: 'RuntimeDefault' },
}
const CONTAINER_SECURITY = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } }

function probes(port: number): object {
  return {
    readinessProbe: { httpGet: { path: '/readyz', port }, periodSeconds: 2 },
    livenessProbe: { httpGet: { path: '/livez', port }, periodSeconds: 10 },
  }
}

function binding(name: string, namespace: string): KubeManifest {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: meta(name),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace }],
  }
}

function service(name: string, namespace: string, ports: readonly object[]): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: meta(name, namespace),
    spec: { selector: { 'app.kubernetes.io/name': name }, ports },
  }
}
