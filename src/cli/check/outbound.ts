/** Checks of the destinations: that they have addresses, take our certificate, and show the one that is expected. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { connect } from 'node:tls'
import { formatAddress, type TcpAddress } from '#base/units'
import type { OutboundConfig, SidecarConfig } from '#config/sidecar-config'
import type { Identity } from '#config/snapshot'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { clientTlsOptions } from '#pki/tls-options'
import { type CheckResult, judged, skipped } from './catalogue.ts'
import { outcome, explainConnect } from './probe.ts'

/** Ms for connection and handshake together. */
const DIAL_TIMEOUT = 5_000
/** Ms in which a server that refuses our certificate closes: in TLS 1.3 it does so after the client is done. */
const REFUSAL_GRACE = 500
/** More destinations than that are dialled in turns. */
const AT_ONCE = 16

/** @param identity undefined where ours cannot be used. @param now ms since the epoch */
export async function checkOutbound(
  config: SidecarConfig,
  identity: Identity | undefined,
  now: () => number,
): Promise<readonly CheckResult[]> {
  if (config.outbound.length === 0) return []
  const { resolved, unresolved } = await resolveAll(config.outbound)
  const results = [
    identity === undefined
      ? skipped('peers-trusted', 'there is no usable identity')
      : judged('peers-trusted', strangers(config.outbound, identity)),
    judged('destinations-resolve', unresolved),
  ]
  if (identity === undefined) return [...results, skipped('destinations-identity', 'there is no usable identity')]
  if (resolved.length === 0) return [...results, skipped('destinations-identity', 'no destination has an address')]
  const options = clientTlsOptions(identity.identity, identity.trust, { ...config.tls, alpnProtocols: ['http/1.1'] })
  const faults: string[] = []
  for (let start = 0; start < resolved.length; start += AT_ONCE) {
    const turn = resolved.slice(start, start + AT_ONCE)
    const found = await Promise.all(turn.map((destination) => dial(destination, options, { config, identity, now })))
    faults.push(...found.filter((fault) => fault !== undefined))
  }
  return [...results, judged('destinations-identity', faults)]
}

function strangers(outbound: readonly OutboundConfig[], { trust }: Identity): string[] {
  const unknown = outbound.flatMap(({ peer }) => peer.filter(({ trustDomain }) => !trust.bundles.has(trustDomain)))
  return [...new Set(unknown.map(({ uri, trustDomain }) => `There is no bundle of ${trustDomain}, so ${uri} can never be verified.`))]
}

interface Destination {
  readonly to: TcpAddress
  readonly expected: ReadonlySet<string>
}

async function resolveAll(
  outbound: readonly OutboundConfig[],
): Promise<{ resolved: readonly Destination[]; unresolved: readonly string[] }> {
  const resolved: Destination[] = []
  const unresolved = new Set<string>()
  for (const { to, peer } of outbound) {
    const expected = new Set(peer.map(({ uri }) => uri))
    for (const address of to) {
      try {
        await lookup(address.host)
        resolved.push({ to: address, expected })
      } catch (error) {
        unresolved.add(`${address.host}: ${explainConnect((error as NodeJS.ErrnoException).code ?? String(error))}.`)
      }
    }
  }
  return { resolved, unresolved: [...unresolved] }
}

interface Dialling {
  readonly config: SidecarConfig
  readonly identity: Identity
  readonly now: () => number
}

/** What is wrong with a destination; undefined if it is who is expected and lets us in. */
async function dial(
  { to, expected }: Destination,
  options: ReturnType<typeof clientTlsOptions>,
  dialling: Dialling,
): Promise<string | undefined> {
  const where = formatAddress(to)
  const socket = connect({ host: to.host, port: to.port, ...(isIP(to.host) === 0 ? { servername: to.host } : {}), ...options })
  try {
    const failure = await outcome(socket, 'secureConnect', DIAL_TIMEOUT)
    if (failure !== undefined)
      return `${where}: ${failure === 'ETIMEDOUT' ? `no handshake within ${DIAL_TIMEOUT / 1000} s` : explainConnect(failure)}.`
    const { config, identity, now } = dialling
    const verdict = verifyPeerSocket(socket, identity.trust, now(), { role: 'server', minVersion: config.tls.minVersion })
    if (!verdict.ok) {
      const shown = verdict.presented === undefined ? '' : `; it showed ${JSON.stringify(verdict.presented.id)}`
      return `${where}: its certificate is refused: ${verdict.reason}${verdict.detail === '' ? '' : ` (${verdict.detail})`}${shown}.`
    }
    const { uri } = verdict.value.id
    if (!expected.has(uri)) return `${where} is ${uri}, and ${[...expected].join(' or ')} is expected.`
    const refusal = await outcome(socket, undefined, REFUSAL_GRACE)
    return refusal === 'ETIMEDOUT'
      ? undefined
      : `${where} is ${uri}, and closed the connection at once: it does not take our certificate (${String(refusal)}).`
  } finally {
    socket.destroy()
  }
}
