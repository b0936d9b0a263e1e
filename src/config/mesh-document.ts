/**
 * What the sidecar's document says of its surroundings in a cluster: the controller that it follows, the calls that are redirected to it, and
 * the app's probes that it answers for. The injector writes these (docs/kubernetes.md).
 */
import { join } from 'node:path'
import type { Address, TcpAddress } from '#base/units'
import type { SpiffeId } from '#identity/spiffe-id'
import { exactlyOne, list, map, optional, type Reader, required } from './reader.ts'
import { filePath, integer, localAddress, span, spiffeId, tcpTarget, text, word } from './scalars.ts'

export interface MeshConfig {
  readonly controller: TcpAddress
  /** Who the controller must be. */
  readonly peer: SpiffeId
  /** Where what it says is kept; absolute. */
  readonly folder: string
  readonly redirect: RedirectConfig | undefined
}

export interface RedirectConfig {
  /** Loopback. */
  readonly listen: Address
  /** Calls to destinations outside of the mesh. */
  readonly passThrough: 'allow' | 'refuse'
}

/** One question of the kubelet's that we ask the app in its place. */
export interface ProbeConfig {
  /** On the health port. */
  readonly path: string
  readonly ask:
    | {
        readonly kind: 'http'
        readonly port: number
        readonly path: string
        readonly headers: readonly { readonly name: string; readonly value: string }[]
      }
    | { readonly kind: 'tcp'; readonly port: number }
    | { readonly kind: 'grpc'; readonly port: number; readonly service: string }
  /** Ms. */
  readonly timeout: number
}

const port = integer(1, 65_535)

export const mesh = map({
  controller: required(tcpTarget),
  peer: required(spiffeId),
  folder: required(filePath),
  redirect: optional(
    map({
      listen: required(localAddress('whoever reaches it calls with this service’s identity')),
      passThrough: optional(word(['allow', 'refuse']), 'allow'),
    }),
  ),
})

const header = map({
  name: required(text('the name of a header', /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/)),
  value: required(text('the value of a header', /^[\t\x20-\x7e]{0,4096}$/)),
})

const question = exactlyOne({
  http: optional(
    map({
      port: required(port),
      path: optional(text('a path', /^\/[\x21-\x7e]{0,2047}$/), '/'),
      headers: optional(list(header), []),
    }),
  ),
  tcp: optional(map({ port: required(port) })),
  grpc: optional(map({ port: required(port), service: optional(text('a service', /^[\w.]{0,255}$/), '') })),
})

export const probes: Reader<readonly ProbeConfig[]> = (() => {
  const entries = list(
    map({
      path: required(text('a path below /app-health/', /^\/app-health\/[a-z0-9-]{1,63}\/[a-z]{1,16}$/)),
      ask: required(question),
      timeout: optional(span('10ms', '10m'), 1000),
    }),
  )
  return {
    ...entries,
    read: (value, place) =>
      entries.read(value, place)?.flatMap(({ path, ask: { http, tcp, grpc }, timeout }): ProbeConfig[] => {
        if (http !== undefined) return [{ path, timeout, ask: { kind: 'http', ...http } }]
        if (tcp !== undefined) return [{ path, timeout, ask: { kind: 'tcp', ...tcp } }]
        return grpc === undefined ? [] : [{ path, timeout, ask: { kind: 'grpc', ...grpc } }]
      }),
  }
})()

/** Where the bundles of other trust domains are that the controller gives. */
export function meshBundles({ folder }: MeshConfig): string {
  return join(folder, 'current', 'federation')
}

/** Where the controller's policies are; `mesh-agent/generation-folder.ts` writes there. */
export function meshPolicies({ folder }: MeshConfig): string {
  return join(folder, 'current', 'policies')
}
