/**
 * The services of the mesh as their callers' sidecars need them: which addresses are one, and who answers there. Their endpoints stay the
 * cluster's business, so a caller's table grows with services, not with pods (headless services apart, whose callers dial pods).
 */
import type { MeshEndpointSlice, MeshPod, MeshServiceObject, ServicePort } from './objects.ts'

export interface MeshService {
  /** `cart.shop`. */
  readonly name: string
  /** `10.0.0.7:8080`, `[fd00::7]:8080`: sorted. */
  readonly addresses: readonly string[]
  /** SPIFFE IDs of the pods behind it, sorted; at least one. */
  readonly peers: readonly string[]
  readonly protocol: 'http1' | 'http2' | 'tcp'
}

export interface MeshObjects {
  readonly pods: Iterable<MeshPod>
  readonly services: Iterable<MeshServiceObject>
  readonly endpointSlices: Iterable<MeshEndpointSlice>
}

/**
 * A service is in the mesh when all pods behind it have sidecars: while some have none (a rollout under way, a pod that opted out) calls
 * would fail by chance, so they go as they went before, and policy says whether that may be.
 */
export function meshServices({ pods, services, endpointSlices }: MeshObjects, trustDomain: string): MeshService[] {
  const podByName = new Map<string, MeshPod>()
  for (const pod of pods) podByName.set(key(pod.metadata.namespace, pod.metadata.name), pod)
  const slices = Map.groupBy(endpointSlices, ({ metadata, service }) => key(metadata.namespace, service))
  const found: MeshService[] = []
  for (const service of services) {
    const { name, namespace = '' } = service.metadata
    const behind = slices.get(key(namespace, name)) ?? []
    const peers = service.hasSelector ? peersOf(behind, namespace, podByName, trustDomain) : undefined
    if (peers === undefined || peers.length === 0) continue
    for (const port of service.ports) {
      if (port.protocol !== 'TCP') continue
      const addresses =
        service.clusterIps.length > 0 ? service.clusterIps.map((ip) => address(ip, port.port)) : podAddresses(behind, port.name)
      if (addresses.length > 0) found.push({ name: `${name}.${namespace}`, addresses: addresses.sort(), peers, protocol: protocolOf(port) })
    }
  }
  return found.sort((a, b) => compare(a.name, b.name) || compare(a.addresses[0] ?? '', b.addresses[0] ?? ''))
}

/** Undefined where anything behind the service has no sidecar. */
function peersOf(
  slices: readonly MeshEndpointSlice[],
  namespace: string,
  pods: ReadonlyMap<string, MeshPod>,
  trustDomain: string,
): readonly string[] | undefined {
  const peers = new Set<string>()
  for (const { endpoints } of slices) {
    for (const { pod: name } of endpoints) {
      const pod = pods.get(key(namespace, name))
      // Endpoints of a pod that is gone linger for a moment: they must not make a service fall out of the mesh.
      if (pod === undefined && name !== '') continue
      if (pod?.injected !== true) return undefined
      peers.add(`spiffe://${trustDomain}/ns/${namespace}/sa/${pod.serviceAccount}`)
    }
  }
  return [...peers].sort()
}

function podAddresses(slices: readonly MeshEndpointSlice[], portName: string): string[] {
  return slices.flatMap(({ endpoints, ports }) => {
    const port = ports.find(({ name }) => name === portName)?.port
    return port === undefined ? [] : endpoints.flatMap(({ addresses }) => addresses.map((ip) => address(ip, port)))
  })
}

/** By `appProtocol`, else by the beginning of the port's name, as Istio and Linkerd have it. */
function protocolOf({ name, appProtocol }: ServicePort): MeshService['protocol'] {
  const said = (appProtocol || (name.split('-', 1)[0] ?? '')).toLowerCase()
  if (said === 'grpc' || said === 'h2c' || said === 'http2' || said === 'kubernetes.io/h2c') return 'http2'
  return said === 'tcp' || said === 'postgres' || said === 'redis' || said === 'mysql' || said === 'mongo' || said === 'amqp'
    ? 'tcp'
    : 'http1'
}

function address(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

function key(namespace: string | undefined, name: string): string {
  return `${namespace ?? ''}/${name}`
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
