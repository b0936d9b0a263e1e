/** Dials a sidecar as a caller would, and says what is wrong from this side: its name, its port, TLS, who it is, and whether it takes us. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { systemClock } from '#base/clock'
import { formatAddress, parseAddress, type TcpAddress } from '#base/units'
import type { SidecarConfig } from '#config/sidecar-config'
import type { Identity } from '#config/snapshot'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { clientTlsOptions } from '#pki/tls-options'
import { openSvidSource } from '#svid-source/open'
import { createLog } from '#telemetry/log'
import { usage } from '../arguments.ts'
import { type CheckResult, judged, passed, skipped } from './catalogue.ts'
import { checkConfiguration } from './configuration.ts'
import { outcome, explainConnect, probe } from './probe.ts'

export interface PeerCheckOptions {
  readonly address: TcpAddress
  /** Absolute path of a sidecar's document; undefined: no identity of our own, and nothing to verify the peer with. */
  readonly file: string | undefined
  readonly cwd: string
  readonly expect: SpiffeId | undefined
  readonly alpn: string | undefined
}

/** Ms for a handshake, for what a peer that refuses us takes to say so, and for an identity that must be asked for. */
const HANDSHAKE = 5_000
const REFUSAL = 500
const IDENTITY = 10_000

/** @throws ERR_USAGE */
export function peerAddress(text: string): TcpAddress {
  const address = parseAddress(text)
  if (address?.kind === 'tcp' && address.port !== 0) return address
  throw usage(`\`--peer ${text}\` must be host:port, as in catalog.internal:7443.`)
}

/** @throws ERR_USAGE */
export function expectedPeer(text: string | undefined): SpiffeId | undefined {
  if (text === undefined) return undefined
  const id = parseSpiffeId(text)
  if (id.ok) return id.value
  throw usage(`\`--expect\` must be a SPIFFE ID: ${id.detail}.`)
}

/** @throws ERR_USAGE */
export function alpnOf(text: string): string | undefined {
  if (text === 'none') return undefined
  if (text === 'http/1.1' || text === 'h2') return text
  throw usage('`--alpn` takes http/1.1, h2 or none.')
}

/** Each result as soon as it is known; what a failure makes pointless is left out. */
export async function* checkPeer(options: PeerCheckOptions): AsyncGenerator<CheckResult> {
  const { address } = options
  const { config, results } =
    options.file === undefined ? { config: undefined, results: [] } : await checkConfiguration(options.file, options.cwd, systemClock.now())
  yield* results.filter(({ status }) => status === 'failed')
  if (options.file !== undefined && config === undefined) return
  const where = formatAddress(address)
  if (isIP(address.host) === 0) {
    const failure = await lookup(address.host).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code ?? error.message,
    )
    yield judged('peer-resolves', failure === undefined ? [] : [`${address.host}: ${explainConnect(failure)} (${failure}).`])
    if (failure !== undefined) return
  }
  const code = await probe(address)
  yield judged('peer-connects', code === undefined ? [] : [`${where}: ${explainConnect(code)} (${code}).`])
  if (code !== undefined) return
  yield* await dial(options, config)
}

async function dial({ address, expect, alpn }: PeerCheckOptions, config: SidecarConfig | undefined): Promise<readonly CheckResult[]> {
  const identity = config === undefined ? undefined : await ownIdentity(config)
  if (typeof identity === 'string') return [judged('peer-handshake', [`Our own identity cannot be used: ${identity}`])]
  const socket = connect({
    host: address.host,
    port: address.port,
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    ...tlsOptions(identity, config, alpn),
  })
  try {
    const where = formatAddress(address)
    const failure = await outcome(socket, 'secureConnect', HANDSHAKE)
    if (failure !== undefined) return [judged('peer-handshake', [`${where}: ${explainHandshake(failure, alpn)}.`])]
    const group = socket.getEphemeralKeyInfo() as { readonly name?: string } | null
    const spoken = `${String(socket.getProtocol())}${group?.name === undefined ? '' : ` with ${group.name}`}`
    const handshake =
      alpn !== undefined && socket.alpnProtocol === false && alpn === 'h2'
        ? judged('peer-handshake', [`${where} answers without ALPN: it does not speak h2.`])
        : passed('peer-handshake', `${spoken}, ALPN ${socket.alpnProtocol === false ? 'none' : String(socket.alpnProtocol)}`)
    return [handshake, judgeIdentity(socket, where, identity, { expect, config }), await judgeAdmission(socket, where, identity)]
  } finally {
    socket.destroy()
  }
}

function tlsOptions(identity: Identity | undefined, config: SidecarConfig | undefined, alpn: string | undefined): ConnectionOptions {
  const protocols = alpn === undefined ? {} : { alpnProtocols: [alpn] }
  if (identity !== undefined) return clientTlsOptions(identity.identity, identity.trust, { ...config?.tls, ...protocols })
  // Nothing is sent over it: the certificate is looked at, and said to be unverified.
  return { rejectUnauthorized: false, minVersion: 'TLSv1.2', ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }) }
}

/** In words where it cannot be had. */
async function ownIdentity(config: SidecarConfig): Promise<Identity | string> {
  const log = createLog({ name: 'check', clock: systemClock, random: Math.random, level: 'silent' })
  try {
    const source = await openSvidSource(config, { clock: systemClock, log, signal: AbortSignal.timeout(IDENTITY), patience: IDENTITY })
    const { current } = source
    source.close()
    return current
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

interface Wanted {
  readonly expect: SpiffeId | undefined
  readonly config: SidecarConfig | undefined
}

function judgeIdentity(socket: TLSSocket, where: string, identity: Identity | undefined, { expect, config }: Wanted): CheckResult {
  if (identity === undefined) {
    const shown = socket.getPeerX509Certificate()?.subjectAltName ?? 'no certificate'
    return skipped('peer-identity', `it shows ${JSON.stringify(shown)}; name a document with --config to verify that`)
  }
  const verdict = verifyPeerSocket(socket, identity.trust, systemClock.now(), {
    role: 'server',
    ...(config === undefined ? {} : { minVersion: config.tls.minVersion }),
  })
  if (!verdict.ok) {
    const shown = verdict.presented === undefined ? '' : `; it showed ${JSON.stringify(verdict.presented.id)}`
    return judged('peer-identity', [`${where}: ${verdict.reason}${verdict.detail === '' ? '' : ` (${verdict.detail})`}${shown}.`])
  }
  const { id } = verdict.value
  const expected = expect === undefined ? expectedAt(where, config) : [expect.uri]
  if (expected.length > 0 && !expected.includes(id.uri))
    return judged('peer-identity', [`${where} is ${id.uri}, and ${expected.join(' or ')} is expected.`])
  return passed('peer-identity', id.uri)
}

function expectedAt(where: string, config: SidecarConfig | undefined): readonly string[] {
  const entries = (config?.outbound ?? []).filter(({ to }) => to.some((address) => formatAddress(address) === where))
  return [...new Set(entries.flatMap(({ peer }) => peer.map(({ uri }) => uri)))]
}

/** In TLS 1.3 a server that refuses a certificate says so after the client is done. */
async function judgeAdmission(socket: TLSSocket, where: string, identity: Identity | undefined): Promise<CheckResult> {
  const refused = await outcome(socket, undefined, REFUSAL)
  if (refused === 'ETIMEDOUT') return passed('peer-admits')
  const whose = identity === undefined ? 'it takes nobody without a certificate' : `it does not take ${identity.identity.id.uri}`
  return judged('peer-admits', [`${where} closed the connection after the handshake: ${whose} (${refused}).`])
}

function explainHandshake(code: string, alpn: string | undefined): string {
  if (code === 'ETIMEDOUT') return `no handshake within ${HANDSHAKE / 1000} s: whatever listens there may not speak TLS`
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG')
    return `what listens there does not speak TLS (${code})`
  if (code.includes('NO_APPLICATION_PROTOCOL')) return `it does not speak ${String(alpn)} (${code})`
  if (code.includes('PROTOCOL_VERSION') || code.includes('UNSUPPORTED_PROTOCOL')) return `there is no version of TLS in common (${code})`
  if (code.includes('HANDSHAKE_FAILURE')) return `there is no key exchange group or cipher in common (${code})`
  if (code.includes('CERTIFICATE') || code.includes('UNKNOWN_CA')) return `it refuses our certificate (${code})`
  if (code === 'closed' || code === 'ECONNRESET')
    return `it closed the connection during the handshake: too many connections, no TLS, or not a sidecar (${code})`
  return code
}
