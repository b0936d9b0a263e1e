/** What the sidecar's document says of the SPIFFE Workload API: where our identity comes from, and where the app finds its own. */
import type { LocatedValue, Problem } from '#base/located'
import type { Address, UnixAddress } from '#base/units'
import { SOCKET_ACCESS } from '#telemetry/private-socket'
import { locationOf } from './listeners.ts'
import { map, oneOrMore, optional, type Reader, refuseValue, required } from './reader.ts'
import { address, localAddress, spiffeId, text, word } from './scalars.ts'
import { DEFAULTS, type SidecarConfig } from './sidecar-config.ts'

/** `spec.identity.workloadApi`. */
export const workloadApiIdentity = map({
  socket: optional(localAddress('the Workload API has no TLS')),
  id: optional(spiffeId),
  hint: optional(text('a hint of at most 1,024 characters', /^[^\0]{1,1024}$/u)),
})

/** `spec.workloadApi`. */
export const workloadApiServer = map({
  listen: required(unixSocket()),
  access: optional(word(SOCKET_ACCESS), DEFAULTS.workloadApi.access),
})

/** `spec.workloadApi` of an authority: a socket for each identity. */
export const workloadSockets = oneOrMore(
  map({
    id: required(spiffeId),
    listen: required(unixSocket()),
    access: optional(word(SOCKET_ACCESS), DEFAULTS.workloadApi.access),
  }),
)

function unixSocket(): Reader<UnixAddress> {
  const any: Reader<Address> = address()
  return {
    read(value, place) {
      const found = any.read(value, place)
      if (found === undefined || found.kind === 'unix') return found
      return refuseValue(place, value, 'a Unix socket: `unix:/path`. Who may open it is what shows who the caller is')
    },
  }
}

/** Reports what does not go together with the rest of the document. */
export function checkWorkloadApi({ identity, federation, workloadApi }: SidecarConfig, document: LocatedValue, problems: Problem[]): void {
  if (identity.kind !== 'workloadApi') return
  if (federation.length > 0) {
    problems.push({
      severity: 'error',
      code: 'ERR_CONFIG_VALUE',
      message:
        '`spec.federation` and `spec.identity.workloadApi` do not go together: the Workload API says which trust domains are federated. Remove `federation`.',
      at: locationOf(document, ['spec', 'federation']),
    })
  }
  if (workloadApi !== undefined && identity.socket?.kind === 'unix' && identity.socket.path === workloadApi.listen.path) {
    problems.push({
      severity: 'error',
      code: 'ERR_CONFIG_VALUE',
      message: '`spec.identity.workloadApi.socket` is where the sidecar itself serves the Workload API: it would ask itself who it is.',
      at: locationOf(document, ['spec', 'identity', 'workloadApi', 'socket']),
    })
  }
}
