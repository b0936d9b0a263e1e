/** A pod with its sidecar: what the webhook answers, and what `postern inject` writes. */
import { OWN } from './annotations.ts'
import { type Plan, SIDECAR_PORTS } from './decide.ts'
import type { Container, Handler, Pod } from './pod.ts'
import { carryProbes } from './probes.ts'
import type { InjectionSettings } from './settings.ts'
import { CREDENTIALS, MOUNT, RUN, sidecarDocument } from './sidecar-document.ts'

export const SIDECAR_UID = 1337
const API_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount'
const TOKEN_SECONDS = 3600
const DEFAULT_RESOURCES = { 'cpu-request': '10m', 'memory-request': '80Mi', 'memory-limit': '256Mi' } as const

/** Our own containers are the first; nothing of the pod's is taken away, and only probes of guarded ports are changed. */
export function injectPod(pod: Pod, plan: Plan, settings: InjectionSettings): Pod {
  const { metadata = {}, spec } = pod
  const guarded = new Set(plan.ports.map(({ port }) => port))
  const carried = spec.containers.map((container) => carryProbes(container, (port) => guarded.has(port)))
  const document = sidecarDocument(
    plan,
    carried.flatMap(({ probes }) => probes),
    settings,
  )
  const own =
    plan.interception === 'redirect'
      ? [redirectContainer(plan, settings), sidecarContainer(plan, settings)]
      : [sidecarContainer(plan, settings)]
  return {
    ...pod,
    metadata: { ...metadata, annotations: { ...metadata.annotations, [OWN.document]: document, [OWN.injected]: settings.version } },
    spec: {
      ...spec,
      initContainers: [...own, ...(spec.initContainers ?? [])],
      containers: carried.map(({ container }) => container),
      volumes: [...(spec.volumes ?? []), ...volumes(settings)],
    },
  }
}

const LEAST_PRIVILEGE = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  seccompProfile: { type: 'RuntimeDefault' },
} as const

/** The API server mounts the pod's own token wherever nothing is mounted yet: a sidecar has no business with it. */
const NO_API_TOKEN = { name: 'postern-no-token', mountPath: API_TOKEN, readOnly: true } as const

function sidecarContainer({ choices }: Plan, { image }: InjectionSettings): Container {
  return {
    name: 'postern',
    image,
    restartPolicy: 'Always',
    args: ['sidecar', '--config', `${MOUNT}/sidecar.yaml`, ...(choices.logLevel === undefined ? [] : ['--log-level', choices.logLevel])],
    ports: [{ name: 'postern-health', containerPort: SIDECAR_PORTS.health }],
    startupProbe: { httpGet: { path: '/readyz', port: SIDECAR_PORTS.health }, periodSeconds: 1, failureThreshold: 120 },
    readinessProbe: { httpGet: { path: '/readyz', port: SIDECAR_PORTS.health }, periodSeconds: 5 },
    livenessProbe: { httpGet: { path: '/livez', port: SIDECAR_PORTS.health }, periodSeconds: 10 },
    // Together with the app's own, while it still serves and calls: here callers are only asked to go elsewhere. SIGTERM comes after the app.
    lifecycle: { preStop: exec('drain', '--gently', '--admin', `unix:${RUN}/admin.sock`) },
    resources: resourcesOf(choices.resources),
    securityContext: { ...LEAST_PRIVILEGE, runAsNonRoot: true, runAsUser: SIDECAR_UID, runAsGroup: SIDECAR_UID },
    volumeMounts: [{ name: 'postern', mountPath: MOUNT, readOnly: true }, { name: 'postern-run', mountPath: RUN }, NO_API_TOKEN],
  }
}

/** As in the image: a hook knows nothing of its entrypoint. */
function exec(...args: readonly string[]): Handler {
  return { exec: { command: ['node', '/postern/postern.js', ...args] } }
}

/** Root with NET_ADMIN for a moment, before anything else runs; NET_RAW is for nodes whose iptables is the old kind. */
function redirectContainer({ ports, choices }: Plan, { image, excludeNetworks }: InjectionSettings): Container {
  const inbound = ports.map(({ port }, index) => `${port}=${SIDECAR_PORTS.inbound + index}`)
  return {
    name: 'postern-init',
    image,
    args: [
      'redirect',
      ...(inbound.length > 0 ? ['--inbound', inbound.join(',')] : []),
      '--outbound',
      String(SIDECAR_PORTS.outbound),
      '--uid',
      String(SIDECAR_UID),
      ...(choices.excludeOutboundPorts.length > 0 ? ['--exclude-ports', choices.excludeOutboundPorts.join(',')] : []),
      ...(excludeNetworks.length > 0 ? ['--exclude-networks', excludeNetworks.join(',')] : []),
    ],
    env: [{ name: 'XTABLES_LOCKFILE', value: `${RUN}/xtables.lock` }],
    resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '128Mi' } },
    securityContext: {
      ...LEAST_PRIVILEGE,
      runAsNonRoot: false,
      runAsUser: 0,
      runAsGroup: 0,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
    },
    volumeMounts: [{ name: 'postern-run', mountPath: RUN }, NO_API_TOKEN],
  }
}

function resourcesOf(chosen: Plan['choices']['resources']): object {
  const all: Partial<Record<string, string>> = { ...DEFAULT_RESOURCES, ...chosen }
  const of = (kind: 'request' | 'limit'): object => ({
    ...(all[`cpu-${kind}`] !== undefined && { cpu: all[`cpu-${kind}`] }),
    ...(all[`memory-${kind}`] !== undefined && { memory: all[`memory-${kind}`] }),
  })
  return { requests: of('request'), limits: of('limit') }
}

/** Everything the sidecar reads is in one projected volume, which only the sidecar mounts. */
function volumes({
  trustBundleSigner,
  podCertificate = false,
}: InjectionSettings): readonly { readonly name: string; readonly [other: string]: unknown }[] {
  const bundle =
    trustBundleSigner === undefined
      ? { configMap: { name: 'postern-ca-bundle', items: [{ key: 'bundle.pem', path: 'bundle.pem' }] } }
      : { clusterTrustBundle: { signerName: trustBundleSigner, labelSelector: {}, path: 'bundle.pem' } }
  const proof = podCertificate
    ? { podCertificate: { signerName: trustBundleSigner, keyType: 'ECDSAP256', credentialBundlePath: CREDENTIALS } }
    : { serviceAccountToken: { audience: 'postern-ca', expirationSeconds: TOKEN_SECONDS, path: 'token' } }
  return [
    {
      name: 'postern',
      projected: {
        defaultMode: 0o444,
        sources: [
          proof,
          bundle,
          { downwardAPI: { items: [{ path: 'sidecar.yaml', fieldRef: { fieldPath: `metadata.annotations['${OWN.document}']` } }] } },
        ],
      },
    },
    { name: 'postern-run', emptyDir: { medium: 'Memory', sizeLimit: '4Mi' } },
    { name: 'postern-no-token', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  ]
}
