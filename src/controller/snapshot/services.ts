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
 * would fail by chance, so they go as they went before, and policy says whether that may be. Pods behind a headless one are dialled each by
 * itself, so each is in the mesh by itself, and must be its own account.
 */
export function meshServices({ pods, services, endpointSlices }: MeshObjects, trustDomain: string): MeshService[] {
  const podByName = new Map<string, MeshPod>()
  for (const pod of pods) podByName.set(key(pod.metadata.namespace, pod.metadata.name), pod)
  const slices = Map.groupBy(endpointSlices, ({ metadata, service }) => key(metadata.namespace, service))
  const found: MeshService[] = []
  for (const service of services) {
    const { name, namespace = '' } = service.metadata
    if (!service.hasSelector) continue
    const behind = slices.get(key(namespace, name)) ?? []
    const add = (port: ServicePort, addresses: readonly string[], peers: readonly string[]): void => {
      if (addresses.length > 0 && peers.length > 0)
        found.push({ name: `${name}.${namespace}`, addresses: addresses.toSorted(), peers, protocol: protocolOf(port) })
    }
    const { clusterIps } = service
    const peers = clusterIps.length === 0 ? [] : (peersOf(behind, namespace, podByName, trustDomain) ?? [])
    for (const port of service.ports) {
      if (port.protocol !== 'TCP') continue
      if (clusterIps.length > 0) {
        const addresses = clusterIps.map((ip) => address(ip, port.port))
        add(port, addresses, peers)
      } else {
        for (const [peer, addresses] of podsByPeer(behind, port.name, namespace, podByName, trustDomain)) add(port, addresses, [peer])
      }
    }
  }
  return found.sort(byName)
}

/** In the order of their names, and of their addresses where a name is several. */
export function byName(a: MeshService, b: MeshService): number {
  return compare(a.name, b.name) || compare(a.addresses[0] ?? '', b.addresses[0] ?? '')
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
      peers.add(identityOf(pod, namespace, trustDomain))
    }
  }
  return [...peers].sort()
}

/** Addresses of the pods that have sidecars, by who they are. */
function podsByPeer(
  slices: readonly MeshEndpointSlice[],
  portName: string,
  namespace: string,
  pods: ReadonlyMap<string, MeshPod>,
  trustDomain: string,
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const { endpoints, ports } of slices) {
    const port = ports.find(({ name }) => name === portName)?.port
    if (port === undefined) continue
    for (const { addresses, pod: name } of endpoints) {
      const pod = pods.get(key(namespace, name))
      if (pod?.injected !== true) continue
      const peer = identityOf(pod, namespace, trustDomain)
      let own = found.get(peer)
      if (own === undefined) found.set(peer, (own = []))
      for (const ip of addresses) own.push(address(ip, port))
    }
  }
  return found
}

function identityOf({ serviceAccount }: MeshPod, namespace: string, trustDomain: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
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
