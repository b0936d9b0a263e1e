/** What the admin address tells of a running sidecar. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ExchangeEvent } from '#audit/event'
import type { Ring } from '#audit/ring'
import type { Clock } from '#base/clock'
import { formatAddress } from '#base/units'
import { scopeOf } from '#config/scope'
import type { IdentityOrigin, Snapshot, SnapshotSource } from '#config/snapshot'
import { explainInSteps } from '#policy/explain'
import type { LogLevel } from '#telemetry/log'
import type { AdminSources } from './admin.ts'
import { keysAnswer } from './assertion-keys.ts'
import type { Sidecar } from './sidecar.ts'

export interface AdminSourcesOptions {
  readonly sidecar: Sidecar
  readonly source: SnapshotSource
  readonly ring: Ring
  readonly clock: Clock
  readonly digestOf: (generation: number) => string
  /** Begins to drain. */
  readonly drain: () => void
  readonly setLogLevel: (level: LogLevel) => void
}

export function adminSources({ sidecar, source, ring, clock, digestOf, drain, setLogLevel }: AdminSourcesOptions): AdminSources {
  return {
    decisions: ring,
    explain: (event) => explainEvent(source.current, event, clock),
    generation: () => source.current.generation,
    digestOf,
    identity: () => describeIdentity(source.current, source.identityOrigin()),
    policies: () => describePolicies(source.current),
    plaintext: (limit) => sidecar.plaintext.list(limit),
    connections: (limit) => sidecar.registry.describe(limit),
    config: () => ({
      generation: source.current.generation,
      digest: source.current.digest,
      last_reload: { at: new Date(source.lastReload.at).toISOString(), successful: source.lastReload.successful },
      inputs: source.status(),
      listeners: {
        inbound: sidecar.inbound.map(({ name, port }) => ({ name, port })),
        outbound: sidecar.outbound.map(({ name, port }) => ({ name, port })),
      },
      document: source.current.config,
    }),
    assertionKeys: () => keysAnswer(sidecar.assertions, clock.now()),
    drain,
    turnAway: () => sidecar.registry.drain(),
    setLogLevel,
  }
}

/** Rules of an explanation that are shown, the nearest: ten thousand would be megabytes, and hold up traffic while they are written. */
const SHOWN_RULES = 50

/** By the policies in force now, at the time of the request. Undefined where policy was never asked. */
async function explainEvent({ config, documents }: Snapshot, { origin, facts, time }: ExchangeEvent, clock: Clock): Promise<unknown> {
  const inbound = config.inbound.find(({ listen }) => formatAddress(listen) === origin.listener)
  if (facts === undefined || inbound === undefined || origin.direction !== 'inbound') return undefined
  const steps = explainInSteps(documents, scopeOf(config, inbound), facts, time, SHOWN_RULES)
  const { consideredTotal, ...explanation } = await inTurns(steps, clock)
  return { ...explanation, considered_total: consideredTotal }
}

/** Ms that an explanation may take of one turn of the event loop. */
const TURN_MS = 4

/** Traffic goes on in between: ten thousand rules take a tenth of a second to explain. */
export async function inTurns<T>(steps: Generator<void, T>, clock: Clock): Promise<T> {
  for (let began = clock.monotonic(); ;) {
    const step = steps.next()
    if (step.done === true) return step.value
    if (clock.monotonic() - began < TURN_MS) continue
    await nextTurn()
    began = clock.monotonic()
  }
}

function describeIdentity({ identity, trust, lease }: Snapshot, origin: IdentityOrigin | undefined): unknown {
  const { id, facts } = identity
  return {
    id: id.uri,
    serial: facts.serial,
    fingerprint: facts.fingerprint,
    not_before: new Date(facts.notBefore).toISOString(),
    not_after: new Date(facts.notAfter).toISOString(),
    ...(Number.isFinite(lease.validUntil) ? { valid_until: iso(lease.validUntil) } : {}),
    ...(origin === undefined ? {} : { source: describeOrigin(origin) }),
    revocations: trust.revocations.size,
    bundles: [...trust.bundles.values()].map(({ trustDomain, roots }) => ({
      trust_domain: trustDomain,
      own: trustDomain === trust.ownTrustDomain,
      roots: roots.map(({ fingerprint }) => fingerprint),
    })),
  }
}

function describeOrigin(origin: IdentityOrigin): unknown {
  const { lastRenewal, lastError } = origin
  return {
    kind: origin.source,
    address: origin.address ?? null,
    next_renewal: origin.nextRenewal === undefined ? null : iso(origin.nextRenewal),
    last_renewal: lastRenewal === undefined ? null : iso(lastRenewal.at),
    last_error: lastError === undefined ? null : { ...lastError, at: iso(lastError.at) },
    failures: origin.failures,
    sequence: origin.sequence ?? null,
    acknowledged: origin.acknowledged ?? null,
    clock_ahead_ms: origin.clockAhead ?? null,
    cache_error: origin.cacheError ?? null,
  }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}

function describePolicies({ config, policies, documents }: Snapshot): unknown {
  return {
    listeners: config.inbound.map(({ listen }, index) => ({ listener: formatAddress(listen), rules: policies[index]?.rules ?? 0 })),
    documents: documents.map(({ name, file, mode, target, selector, rules }) => ({
      name,
      file,
      mode,
      target,
      selector,
      rules: rules.map((rule) => ({ name: rule.name, action: rule.action, line: rule.line })),
    })),
  }
}
