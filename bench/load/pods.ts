/** Pods as an API server has them: what a Deployment's pod is at its review, and what it is once it runs with its sidecar. */
import { decideInjection } from '#controller/inject/decide'
import { injectPod } from '#controller/inject/inject'
import type { Pod } from '#controller/inject/pod'
import type { InjectionSettings } from '#controller/inject/settings'

export const MESH_DOMAIN = 'bench.example'

const SETTINGS: InjectionSettings = {
  image: 'ghcr.io/postern/postern:1.0.0',
  trustDomain: MESH_DOMAIN,
  namespace: 'postern-system',
  caAddress: 'postern-ca.postern-system.svc:7100',
  controllerAddress: 'postern-controller.postern-system.svc:7201',
  controllerPeer: `spiffe://${MESH_DOMAIN}/ns/postern-system/sa/postern-controller`,
  trustBundleSigner: undefined,
  interception: 'redirect',
  passThrough: 'allow',
  excludeNetworks: ['10.96.0.1/32'],
  version: '1.0.0',
}

/** As the replica-set controller creates it, with what in-tree admission has added by then. */
export function createdPod(service: string, namespace: string): Pod {
  const hash = '6f99f599c5'
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: `${service}-${hash}-`,
      namespace,
      labels: { 'app.kubernetes.io/name': service, 'app.kubernetes.io/part-of': namespace, tier: 'backend', 'pod-template-hash': hash },
      annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '9102', 'checksum/config': 'b1946ac92492d2347c6235b4d2611184' },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          name: `${service}-${hash}`,
          uid: 'b8e3b9ba-2b07-4a4f-8b0e-6f5f6b5f9a10',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
      managedFields: [managedFields('kube-controller-manager', '')],
    },
    spec: {
      serviceAccountName: service,
      serviceAccount: service,
      volumes: [
        { name: 'config', configMap: { name: `${service}-config`, defaultMode: 420 } },
        { name: 'scratch', emptyDir: {} },
        { name: 'kube-api-access-t5mgq', projected: { defaultMode: 420, sources: TOKEN_SOURCES } },
      ],
      containers: [
        {
          name: 'app',
          image: `registry.example/${namespace}/${service}:2026.11.3`,
          imagePullPolicy: 'IfNotPresent',
          ports: [
            { name: 'http', containerPort: 8080, protocol: 'TCP' },
            { name: 'metrics', containerPort: 9102, protocol: 'TCP' },
          ],
          env: [
            { name: 'LOG_LEVEL', value: 'info' },
            { name: 'POD_IP', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'status.podIP' } } },
            ...Array.from({ length: 10 }, (_, index) => ({ name: `SETTING_${index}`, value: `value-of-setting-${index}` })),
            { name: 'DATABASE_PASSWORD', valueFrom: { secretKeyRef: { name: `${service}-database`, key: 'password' } } },
          ],
          resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '512Mi' } },
          readinessProbe: { httpGet: { path: '/ready', port: 'http', scheme: 'HTTP' }, periodSeconds: 5, timeoutSeconds: 1 },
          livenessProbe: { httpGet: { path: '/alive', port: 'http', scheme: 'HTTP' }, periodSeconds: 10, timeoutSeconds: 1 },
          lifecycle: { preStop: { httpGet: { path: '/stop', port: 'http', scheme: 'HTTP' } } },
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true },
          volumeMounts: [
            { name: 'config', mountPath: '/etc/app', readOnly: true },
            { name: 'scratch', mountPath: '/tmp' },
            { name: 'kube-api-access-t5mgq', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
          ],
          terminationMessagePath: '/dev/termination-log',
          terminationMessagePolicy: 'File',
        },
      ],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      schedulerName: 'default-scheduler',
      securityContext: { runAsNonRoot: true, runAsUser: 10_001, seccompProfile: { type: 'RuntimeDefault' } },
      tolerations: ['not-ready', 'unreachable'].map((name) => ({
        key: `node.kubernetes.io/${name}`,
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: 300,
      })),
      priority: 0,
      preemptionPolicy: 'PreemptLowerPriority',
      enableServiceLinks: true,
    },
    status: {},
  }
  return pod
}

/** The body of a review, as the API server sends it. */
export function podReview(service: string, namespace: string, uid: string): string {
  const kind = { group: '', version: 'v1', kind: 'Pod' }
  const resource = { group: '', version: 'v1', resource: 'pods' }
  return JSON.stringify({
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid,
      kind,
      resource,
      requestKind: kind,
      requestResource: resource,
      namespace,
      operation: 'CREATE',
      userInfo: {
        username: 'system:serviceaccount:kube-system:replicaset-controller',
        uid: '90811dd4-5a9c-4a6a-8c4c-6f1f1d0b9a55',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated'],
        extra: { 'authentication.kubernetes.io/credential-id': ['JTI=3b97c1a4-9f2e-4a94-b8f4-0d7c5a1c7e21'] },
      },
      object: createdPod(service, namespace),
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    },
  })
}

/** With its sidecar, on a node, Ready. */
export function runningPod(service: string, namespace: string, name: string, ip: string): Record<string, unknown> {
  const created = createdPod(service, namespace)
  const verdict = decideInjection(created, namespace, 'enabled', SETTINGS)
  if (verdict.kind !== 'inject') throw new TypeError('The pod of the benchmark is not injected.')
  const pod = injectPod(created, verdict.plan, SETTINGS)
  const running = { running: { startedAt: '2026-11-25T01:00:03Z' } }
  const container = (of: string): object => ({
    name: of,
    image: `registry.example/${of}:1`,
    imageID: `registry.example/${of}@sha256:${'ab'.repeat(32)}`,
    containerID: `containerd://${'cd'.repeat(32)}`,
    ready: true,
    started: true,
    restartCount: 0,
    state: running,
    lastState: {},
  })
  return {
    ...pod,
    metadata: { ...pod.metadata, name, managedFields: [managedFields('kube-controller-manager', ''), managedFields('kubelet', 'status')] },
    spec: { ...pod.spec, nodeName: `node-${name.length % 7}` },
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      hostIP: '10.99.0.1',
      qosClass: 'Burstable',
      startTime: '2026-11-25T01:00:00Z',
      conditions: ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
        type,
        status: 'True',
        lastProbeTime: null,
        lastTransitionTime: '2026-11-25T01:00:03Z',
      })),
      initContainerStatuses: [container('postern-init'), container('postern')],
      containerStatuses: [container('app')],
    },
  }
}

const TOKEN_SOURCES = [
  { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
  { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
  { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
]

/** A third of a real pod's text. */
function managedFields(manager: string, subresource: string): object {
  const leaf = (names: readonly string[]): object => Object.fromEntries(names.map((name) => [`f:${name}`, {}]))
  return {
    manager,
    operation: 'Update',
    apiVersion: 'v1',
    time: '2026-11-25T01:00:00Z',
    fieldsType: 'FieldsV1',
    ...(subresource !== '' && { subresource }),
    fieldsV1: {
      'f:metadata': { 'f:labels': leaf(['app.kubernetes.io/name', 'pod-template-hash', 'tier']), ...leaf(['annotations', 'generateName']) },
      'f:spec': {
        'f:containers': {
          'k:{"name":"app"}': leaf([
            'name',
            'image',
            'env',
            'ports',
            'resources',
            'livenessProbe',
            'readinessProbe',
            'volumeMounts',
            'lifecycle',
          ]),
        },
        ...leaf(['dnsPolicy', 'restartPolicy', 'schedulerName', 'securityContext', 'terminationGracePeriodSeconds', 'volumes']),
      },
    },
  }
}
