/** What the connections of one inbound listener share. Its settings are replaced, together, with every snapshot. */
import type { DecisionLog } from '#audit/decision-log'
import type { ConnectionOrigin } from '#audit/event'
import type { Ring } from '#audit/ring'
import type { Clock } from '#base/clock'
import type { InboundConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import type { RandomHex } from '#http/random-hex'
import type { CompiledPolicy } from '#policy/compile'
import type { ListenerMetrics } from '#telemetry/metrics'
import type { AssertionSigner } from '#token/assertion'
import type { TokenVerifier } from '#token/verifier'
import type { HeadLimits } from '#wire/http1/limits'
import type { Backlog } from './backlog.ts'
import type { FloodPenalties } from './flood-penalties.ts'
import type { PeerUsage } from './peer-usage.ts'
import type { RateLimiter } from './rate-limiter.ts'
import type { Registry } from './registry.ts'

/** Where what happened goes, and what time it is: shared by every listener. */
export interface Surroundings {
  readonly registry: Registry
  readonly clock: Clock
  readonly randomHex: RandomHex
  readonly log: DecisionLog
  readonly ring: Ring
  /** Signs what the app is told of its callers. */
  readonly assertions: AssertionSigner
}

/** What of a listener a new snapshot may change. */
export interface InboundSettings {
  readonly config: InboundConfig
  readonly policy: CompiledPolicy
  readonly headLimits: HeadLimits
  /** Undefined where no issuer is configured: then `authorization` is the business of the app. */
  readonly tokens: TokenVerifier | undefined
  /** Ms for which that which runs may go on where the listener drains what has lapsed. */
  readonly drain: number
  /** Who we are, and until when that may be relied upon. */
  readonly own: Pick<Snapshot, 'identity' | 'lease'>
  /** SPIFFE IDs whose own x-forwarded-client-cert is kept. */
  readonly forwarders: ReadonlySet<string>
}

export interface InboundListenerState extends Surroundings {
  settings: InboundSettings
  /** Its address as configured. */
  readonly name: string
  /** The port it is bound to. */
  readonly port: number
  /** Host for requests that have none. */
  readonly appHost: string
  readonly metrics: ListenerMetrics
  /** What callers have used of the limits of policy. */
  readonly limiter: RateLimiter
  /** What each caller's identity has open here. */
  readonly peers: PeerUsage
  /** Who flooded it, and for how long that counts. */
  readonly penalties: FloodPenalties
  /** Connections that have sent more than is read at once. */
  readonly backlog: Backlog
  connectionClosed(origin: ConnectionOrigin): void
}
