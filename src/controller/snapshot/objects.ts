/** What the controller keeps of each object it watches: a pod of thousands is a few strings here, not its whole manifest. */
import type { KubeObject, Resource } from '#kube/objects'

export const RESOURCES = {
  pods: { group: '', version: 'v1', plural: 'pods' },
  services: { group: '', version: 'v1', plural: 'services' },
  endpointSlices: { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' },
  namespaces: { group: '', version: 'v1', plural: 'namespaces' },
  policies: { group: 'postern.dev', version: 'v1', plural: 'policies' },
  clusterPolicies: { group: 'postern.dev', version: 'v1', plural: 'clusterpolicies' },
  trustDomains: { group: 'postern.dev', version: 'v1', plural: 'trustdomains' },
} as const satisfies Readonly<Record<string, Resource>>

export interface MeshPod extends KubeObject {
  readonly serviceAccount: string
  /** Has a sidecar, as its annotation says. */
  readonly injected: boolean
}

export interface MeshServiceObject extends KubeObject {
  /** None for a headless service. */
  readonly clusterIps: readonly string[]
  readonly ports: readonly ServicePort[]
  /** Without one, what stands behind it is not known. */
  readonly hasSelector: boolean
}

export interface ServicePort {
  readonly name: string
  readonly port: number
  readonly protocol: string
  readonly appProtocol: string
}

export interface MeshEndpointSlice extends KubeObject {
  readonly service: string
  /** Of pods, whether they are ready or not: who may answer does not depend on it. */
  readonly endpoints: readonly { readonly addresses: readonly string[]; readonly pod: string }[]
  readonly ports: readonly { readonly name: string; readonly port: number }[]
}

type Json = Readonly<Record<string, unknown>>

/** Only what is read: labels and annotations of pods can be large. */
function slim({ metadata }: KubeObject): KubeObject['metadata'] {
  const { name, namespace, uid, resourceVersion } = metadata
  return { name, uid, resourceVersion, ...(namespace !== undefined && { namespace }) }
}

export function slimPod(object: KubeObject): MeshPod {
  const { spec } = object as KubeObject & { readonly spec?: { readonly serviceAccountName?: string } }
  return {
    metadata: slim(object),
    serviceAccount: spec?.serviceAccountName ?? 'default',
    injected: object.metadata.annotations?.['postern.dev/injected'] !== undefined,
  }
}

interface RawService {
  readonly clusterIP?: string
  readonly clusterIPs?: readonly string[]
  readonly selector?: Json
  readonly ports?: readonly { readonly name?: string; readonly port: number; readonly protocol?: string; readonly appProtocol?: string }[]
}

export function slimService(object: KubeObject): MeshServiceObject {
  const { spec = {} } = object as KubeObject & { readonly spec?: RawService }
  return {
    metadata: slim(object),
    clusterIps: (spec.clusterIPs ?? [spec.clusterIP ?? '']).filter((ip) => ip !== '' && ip !== 'None'),
    ports: (spec.ports ?? []).map(({ name = '', port, protocol = 'TCP', appProtocol = '' }) => ({ name, port, protocol, appProtocol })),
    hasSelector: spec.selector !== undefined && Object.keys(spec.selector).length > 0,
  }
}

interface RawSlice {
  readonly endpoints?:
    | readonly { readonly addresses: readonly string[]; readonly targetRef?: { readonly kind?: string; readonly name?: string } }[]
    | null
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly protocol?: string }[] | null
}

export function slimEndpointSlice(object: KubeObject): MeshEndpointSlice {
  const { endpoints, ports } = object as KubeObject & RawSlice
  return {
    metadata: slim(object),
    service: object.metadata.labels?.['kubernetes.io/service-name'] ?? '',
    endpoints: (endpoints ?? []).map(({ addresses, targetRef }) => ({
      addresses,
      pod: targetRef?.kind === 'Pod' ? (targetRef.name ?? '') : '',
    })),
    ports: (ports ?? []).flatMap(({ name = '', port, protocol = 'TCP' }) =>
      port === undefined || protocol !== 'TCP' ? [] : [{ name, port }],
    ),
  }
}

/** Without what tells who wrote which field: as long as the policy itself, and read by nobody. */
export function slimPolicy<T extends KubeObject>(object: T): T {
  const { metadata, ...rest } = object
  const { name, namespace, uid, resourceVersion, generation } = metadata
  return {
    ...rest,
    metadata: {
      name,
      uid,
      resourceVersion,
      ...(namespace !== undefined && { namespace }),
      ...(generation !== undefined && { generation }),
    },
  } as T
}

export interface MeshNamespace extends KubeObject {
  /** Of `postern.dev/inject`. */
  readonly inject: string
  /** Namespaces whose services its pods call; undefined: any. */
  readonly calls: ReadonlySet<string> | undefined
}

const DNS_LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/

export function slimNamespace(object: KubeObject): MeshNamespace {
  const { name, labels, annotations, deletionTimestamp } = object.metadata
  return {
    metadata: { ...slim(object), ...(deletionTimestamp !== undefined && { deletionTimestamp }) },
    inject: labels?.['postern.dev/inject'] ?? '',
    calls: readCalls(annotations?.['postern.dev/calls'], name),
  }
}

/** Its own namespace is always one. What is no list of names narrows nothing: a slip of the pen must not cut calls off. */
export function readCalls(text: string | undefined, own: string): ReadonlySet<string> | undefined {
  if (text === undefined) return undefined
  const names = text.split(',').map((part) => part.trim())
  return names.every((part) => DNS_LABEL.test(part)) ? new Set([own, ...names]) : undefined
}
