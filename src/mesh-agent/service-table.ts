/** Which addresses belong to services of the mesh, and who answers there: what a redirected call is looked up in. */

export interface MeshService {
  /** `cart.shop`. */
  readonly name: string
  /** `10.0.0.7:8080`, `[fd00::7]:8080`. */
  readonly addresses: readonly string[]
  /** SPIFFE IDs, at least one. */
  readonly peers: readonly string[]
  readonly protocol: 'http1' | 'http2' | 'tcp'
}

export interface ServiceTable {
  /** Undefined for what is outside of the mesh. @param host as Node writes addresses */
  find(host: string, port: number): MeshService | undefined
  readonly size: number
}

export function createServiceTable(services: readonly MeshService[]): ServiceTable {
  const byAddress = new Map<string, MeshService>()
  for (const service of services) for (const address of service.addresses) byAddress.set(address, service)
  return {
    find: (host, port) => byAddress.get(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`),
    size: byAddress.size,
  }
}

/** @returns undefined if it is not a list of services: nothing of it may be used then */
export function readServices(value: unknown): readonly MeshService[] | undefined {
  return Array.isArray(value) && value.every(isService) ? value : undefined
}

function isService(value: unknown): value is MeshService {
  if (typeof value !== 'object' || value === null) return false
  const { name, addresses, peers, protocol } = value as Readonly<Record<string, unknown>>
  return (
    typeof name === 'string' &&
    isTexts(addresses) &&
    isTexts(peers) &&
    peers.length > 0 &&
    peers.every((peer) => peer.startsWith('spiffe://')) &&
    (protocol === 'http1' || protocol === 'http2' || protocol === 'tcp')
  )
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
