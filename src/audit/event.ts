/** What happened to one request, as the data plane hands it to records, metrics and the ring that `explain` reads. */
import type { ReasonCode } from '#base/reasons'
import type { Peer, TokenPrincipal } from '#identity/peer'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'

/** What all requests of one connection have in common. */
export interface ConnectionOrigin {
  /** Name of the listener: its address as configured. */
  readonly listener: string
  readonly direction: 'inbound' | 'outbound'
  readonly protocol: 'http1' | 'http2' | 'tcp'
  readonly peer: Peer | undefined
  readonly sourceIp: string
  /** `group` is empty where TLS does not tell. */
  readonly tls: { readonly version: string; readonly group: string } | undefined
}

/** One decided (or refused) request at its end. Times are ms since the epoch, durations microseconds. */
export interface ExchangeEvent {
  readonly origin: ConnectionOrigin
  readonly time: number
  readonly requestId: string
  readonly method: string
  readonly host: string
  readonly path: string
  readonly token: TokenPrincipal | undefined
  /** Undefined where the request was refused before policy was asked. */
  readonly decision: Decision | undefined
  /** Why it was refused, cut or failed; undefined for a request that was allowed and answered. */
  readonly reason: ReasonCode | undefined
  /** Says what exactly, in the record only. */
  readonly detail: string
  /** Sent to the caller; 0 if none was. */
  readonly status: number
  readonly grpcStatus: number | undefined
  readonly bytesIn: number
  readonly bytesOut: number
  readonly durationUs: number
  readonly decideUs: number
  readonly traceId: string
  /** For `explain`; undefined where the head could not be read. */
  readonly facts: RequestFacts | undefined
}

/** A handshake that was refused. */
export interface HandshakeEvent {
  /** Ours, as of a request (UUIDv7): the caller never learns it. */
  readonly id: string
  readonly listener: string
  readonly time: number
  readonly sourceIp: string
  readonly reason: ReasonCode
  readonly detail: string
  /** Whatever identity was presented, verified or not; bounded and escaped by the writer. */
  readonly presented: { readonly id: string; readonly serial: string; readonly notAfter: number } | undefined
}
