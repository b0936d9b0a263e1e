/** All that a decision may depend on, apart from the policy itself and the time. */
import type { HeaderList } from '#http/header-list'
import type { Peer, TokenPrincipal } from '#identity/peer'

export interface RequestFacts {
  /** `grpc`: an HTTP/2 request with content type application/grpc. `tcp`: an opaque connection, which has no HTTP facts. */
  readonly protocol: 'http' | 'grpc' | 'tcp'
  /** Absent only where a listener admits callers without certificates. */
  readonly peer: Peer | undefined
  readonly token: TokenPrincipal | undefined
  /** As sent; `''` for tcp. */
  readonly method: string
  /** Canonical, without query; `''` for tcp. */
  readonly path: string
  /** What follows the `?`, as sent; undefined if there is none. */
  readonly query: string | undefined
  /** Authority lower-cased, without port and without one trailing dot; brackets of IPv6 kept. */
  readonly host: string
  readonly headers: HeaderList | undefined
  /** The socket's remote address, IPv4-mapped as IPv4. */
  readonly sourceIp: string
  /** The listener's port. */
  readonly port: number
}
