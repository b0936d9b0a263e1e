/**
 * Our SVID from the certificate authority, and what it trusts.
 *
 *   attest ──▶ held ──▶ renew at half of its life, with a new key, showing the old certificate ──▶ held ──▶ …
 *                │                └─ refused, or the old one has ended: attest again
 *                └─ poll: the bundle and revocations, acknowledged once a snapshot with them is in force
 *
 * All times are of the wall clock, looked at once a second or oftener: who was suspended is late, and notices.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { digestOf } from '#config/files'
import type { CaIdentityConfig, FederatedBundleConfig } from '#config/sidecar-config'
import type { Identity, IdentityOrigin, InputStatus } from '#config/snapshot'
import type { TrustStore } from '#pki/trust-store'
import type { Log } from '#telemetry/log'
import { type BundleFiles, createBundleFiles } from './bundle-files.ts'
import { createConversation } from './ca-conversation.ts'
import { keep, loadKept } from './ca-cache.ts'
import { type CaFault, createCaClient } from './ca-client.ts'
import { readAnchor } from './ca-inputs.ts'
import { pollDelay, renewalTime, retryDelay } from './ca-schedule.ts'
import { createClockWatch } from './clock-watch.ts'
import { acceptFederation, acceptKept, acceptTrust, type Circumstances, type Held } from './ca-state.ts'
import type { IdentityObserver, SvidSource } from './source.ts'

export interface CaSvidSourceOptions {
  readonly ca: CaIdentityConfig
  readonly federation: readonly FederatedBundleConfig[]
  readonly clock: Clock
  readonly log: Log
  /** [0, 1), for jitter. */
  readonly random: () => number
  /** Ends the wait for the first identity. */
  readonly signal?: AbortSignal
  readonly observe?: IdentityObserver
  /** Ms after which there being no first identity is an error; waits for as long as it takes unless said. */
  readonly patience?: number
  /** Ms between looks at the clock, at most. Default 1,000. */
  readonly tick?: number
  /** Ms between polls of files. Default 500. */
  readonly interval?: number
}

const TICK = 1_000
/** Ms; until the authority says another. */
const POLL_AFTER = 5_000
/** Polls that a lease outlives: what the authority waits for, too. */
const LEASE_POLLS = 3
/** Polls that may fail in a row before it is worth a word in `status`. */
const TOLERATED_POLLS = 3
/** Ms; clocks that differ by more are worth a word. */
const SKEW = 2_000

/**
 * Resolves with the first usable identity: one that was kept on disk, or what the authority issues, however long that takes.
 * @throws ERR_CONFIG_INVALID where the bundles cannot be used to begin with; what `signal` was aborted with
 */
export async function createCaSvidSource(options: CaSvidSourceOptions): Promise<SvidSource> {
  const { ca, clock, log, random, observe } = options
  const client = createCaClient({ address: ca.address, clock })
  const anchor = await readAnchor(ca)
  const federation: BundleFiles = await createBundleFiles({
    federation: options.federation,
    clock,
    onChange: onFederation,
    ...(options.interval === undefined ? {} : { interval: options.interval }),
  })
  const listeners = new Set<() => void>()
  const instance = randomUUID()
  const closing = new AbortController()
  const signal = options.signal === undefined ? closing.signal : AbortSignal.any([closing.signal, options.signal])

  let held: Held | undefined
  let renewAt = 0
  let renewalFailures = 0
  let renewing = false
  let pollAfter = POLL_AFTER
  let pollAt = 0
  let pollFailures = 0
  let polling = false
  /** The trust of the snapshot in force, and the newest sequence that was. */
  let inForce: TrustStore | undefined
  let acknowledged = 0
  let lastRenewal: IdentityOrigin['lastRenewal']
  let lastError: IdentityOrigin['lastError']
  let renewalError: CaFault | undefined
  let pollError: CaFault | undefined
  let federationError: CaFault | undefined
  let cacheError: string | undefined
  let identitySince = 0
  let trustSince = 0
  const watch = createClockWatch(clock)
  /** This process did not look for longer than its lease: nothing is served until it has asked. */
  let stale = false
  let suspensions = 0
  let timer: NodeJS.Timeout | undefined

  const circumstances = (): Circumstances => ({
    name: client.name,
    trustDomain: anchor.trust.ownTrustDomain,
    federated: federation.current,
    now: clock.now(),
  })
  const conversation = createConversation({ ca, client, anchor, circumstances })
  const endOf = (): number => held?.identity.facts.notAfter ?? -Infinity
  const lease = {
    get validUntil() {
      return stale ? -Infinity : Math.min(endOf(), watch.seen + LEASE_POLLS * pollAfter)
    },
  }
  let current: Identity | undefined

  /** In one turn: whoever listens sees identity and trust that belong together. */
  function adopt(next: Held): void {
    const before = held
    held = next
    if (before?.identity === next.identity && before.trust === next.trust) return
    const now = clock.now()
    if (before?.trust !== next.trust) {
      trustSince = now
      conversation.adopted()
    }
    if (before?.identity !== next.identity) identitySince = now
    current = { identity: next.identity, trust: next.trust, lease }
    for (const listener of listeners) listener()
  }

  /** @returns why not */
  async function renew(): Promise<CaFault | undefined> {
    const next = await conversation.obtain(() => held)
    if (closing.signal.aborted) return undefined
    const now = clock.now()
    if ('ok' in next) {
      renewalFailures++
      renewalError = next
      lastError = { at: now, reason: next.reason, detail: next.detail }
      observe?.('renewal', next.reason)
      const delay = retryDelay(renewalFailures, next.retryAfter, endOf() - now, random)
      renewAt = now + delay
      log.warn({ reason: next.reason, attempt: renewalFailures, retry_in_ms: Math.round(delay), ...ending(now) }, `${next.detail}.`)
      return next
    }
    const { state } = next
    renewAt = renewalTime(state.identity.facts, now, next.renewAt, random())
    renewalFailures = 0
    renewalError = undefined
    lastRenewal = { at: now }
    observe?.('renewal', 'ok')
    adopt(state)
    const { id, facts } = state.identity
    log.info(
      { id: id.uri, serial: facts.serial, not_after: iso(facts.notAfter), renew_at: iso(renewAt), ...skewOf() },
      'A new certificate is in force.',
    )
    await keepHeld()
    return undefined
  }

  async function poll(): Promise<void> {
    if (held === undefined) return
    if (inForce === held.trust) acknowledged = held.sequence
    const begun = suspensions
    const answer = await conversation.poll(held, acknowledged, instance)
    if (closing.signal.aborted) return
    const next = 'ok' in answer ? answer : acceptTrust(answer, held, circumstances())
    const now = clock.now()
    // One that was begun before a suspension says what held before it.
    if (begun === suspensions) stale = false
    else pollAt = now
    if ('ok' in answer || 'ok' in next) {
      if ('ok' in next) onPollFailed(next, now)
      return
    }
    if (pollError !== undefined && pollFailures >= TOLERATED_POLLS) log.info({}, `The authority at ${client.name} answers again.`)
    pollFailures = 0
    pollError = undefined
    observe?.('poll', 'ok')
    pollAfter = answer.pollAfter
    const isNewer = next.sequence !== held.sequence
    // What is newer is acknowledged soon: a rotation waits for it.
    pollAt = now + (isNewer ? 0.2 * random() * pollAfter : pollDelay(pollAfter, 0, random()))
    const isOther = next.trust !== held.trust
    adopt(next)
    if (isOther) log.info({ sequence: next.sequence, revocations: next.revocations.length }, 'New trust bundles are in force.')
    if (answer.renewNow) renewSoon(now)
    if (isNewer || isOther) await keepHeld()
  }

  function onPollFailed(failure: CaFault, now: number): void {
    pollFailures++
    observe?.('poll', failure.reason)
    pollAt = now + Math.max(failure.retryAfter, pollDelay(pollAfter, pollFailures, random()))
    if (
      pollError?.detail !== failure.detail &&
      (pollFailures === TOLERATED_POLLS || failure.final || failure.reason === 'ERR_CA_SEQUENCE')
    ) {
      log.warn({ reason: failure.reason, attempt: pollFailures }, `${failure.detail}; what is trusted stays as it was.`)
    }
    pollError = failure
    lastError = { at: now, reason: failure.reason, detail: failure.detail }
    // Neither revoked nor ended by our own clock, and yet not known: attest anew, as the renewal does when it is refused.
    if (failure.final) renewSoon(now)
  }

  function renewSoon(now: number): void {
    if (renewalFailures > 0) return
    renewAt = Math.min(renewAt, now + random() * Math.min(pollAfter, Math.max(0, endOf() - now) / 4))
  }

  async function keepHeld(): Promise<void> {
    if (ca.cache === undefined || held === undefined) return
    const { identity, bundleText: bundle, sequence, revocations } = held
    const { certificatePem, keyPem } = identity
    try {
      await keep(ca.cache, { certificatePem, keyPem, bundle, sequence, revocations, renewAt, pollAfter })
      cacheError = undefined
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      if (cacheError !== error.message) log.warn({ reason: error.code }, error.message)
      cacheError = error.message
    }
  }

  function onFederation(): void {
    if (held === undefined) return
    const next = acceptFederation(held, circumstances())
    federationError = 'ok' in next ? next : undefined
    if ('ok' in next) return log.warn({ reason: next.reason }, `${next.detail}; what is trusted stays as it was.`)
    if (next.trust !== held.trust) log.info({ trust_domains: [...next.trust.bundles.keys()] }, 'New trust bundles are in force.')
    adopt(next)
  }

  /** Looks at the clock, and begins what is due. */
  function look(): void {
    if (closing.signal.aborted) return
    const { now, passed, jump } = watch.look()
    if (jump !== 0) {
      log.warn({ ms: Math.round(jump) }, jump > 0 ? 'The clock went forward, or this host was suspended.' : 'The clock was set back.')
      // What was planned is as far away as before; only a clock that runs on makes it late.
      if (jump < 0) renewAt += jump
      pollAt = Math.min(pollAt, now)
    }
    if (passed > LEASE_POLLS * pollAfter) {
      stale = true
      suspensions++
      pollAt = now
    }
    if (!renewing && now >= renewAt) {
      renewing = true
      void renew().finally(() => {
        renewing = false
        // The certificate that polls show is another one now; one that had ended could not poll.
        if (stale || pollFailures > 0) pollAt = Math.min(pollAt, clock.now())
        plan()
      })
    }
    if (!polling && now >= pollAt && endOf() > now) {
      polling = true
      void poll().finally(() => {
        polling = false
        plan()
      })
    }
    plan()
  }

  function plan(): void {
    if (closing.signal.aborted) return
    clearTimeout(timer)
    const now = clock.now()
    const due = Math.min(renewing ? Infinity : renewAt - now, polling || endOf() <= now ? Infinity : pollAt - now)
    timer = setTimeout(look, Math.min(options.tick ?? TICK, Math.max(1, due))).unref()
  }

  const ending = (now: number): object => (held === undefined ? {} : { certificate_ends_in_s: Math.round((endOf() - now) / 1000) })
  const skewOf = (): object =>
    client.skew !== undefined && Math.abs(client.skew) > SKEW ? { clock_ahead_of_authority_ms: client.skew } : {}

  async function restore(): Promise<void> {
    if (ca.cache === undefined) return
    try {
      const kept = await loadKept(ca.cache)
      if (kept === undefined) return
      adopt(acceptKept(kept, circumstances()))
      renewAt = Math.min(kept.renewAt, endOf())
      pollAfter = kept.pollAfter
      log.info({ id: held?.identity.id.uri, not_after: iso(endOf()), renew_at: iso(renewAt) }, 'The identity kept on disk is in force.')
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      log.warn({ reason: error.code }, error.message)
    }
  }

  function close(): void {
    closing.abort()
    clearTimeout(timer)
    client.close()
    federation.close()
    listeners.clear()
  }

  try {
    await restore()
    const begun = clock.monotonic()
    while (held === undefined) {
      const failed = await renew()
      if (failed !== undefined && clock.monotonic() - begun > (options.patience ?? Infinity))
        throw new PosternError(failed.reason, `${failed.detail}.`)
      if (held === undefined) await wait(Math.max(0, renewAt - clock.now()), undefined, { signal })
      signal.throwIfAborted()
    }
    // Before anybody is served: who is revoked. If the authority is away by now, with what is known.
    await poll()
  } catch (error) {
    close()
    throw error
  }
  watch.look()
  plan()

  function statusOf(
    kind: 'certificate' | 'bundle',
    digest: string | undefined,
    appliedAt: number,
    wrong: CaFault | undefined,
  ): InputStatus {
    const error = wrong && `${wrong.detail}. (${wrong.reason})`
    return {
      input: client.name,
      kind,
      digest,
      appliedAt,
      error,
      failedAt: wrong === undefined ? undefined : (lastError?.at ?? clock.now()),
    }
  }

  return {
    kind: 'ca',
    get current(): Identity {
      if (current === undefined) throw new TypeError('The source is made once there is an identity.')
      return current
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async reload() {
      // Not waited for: whoever changes a policy must not wait for an authority that is away.
      const now = clock.now()
      if (renewalFailures > 0) renewAt = now
      if (pollFailures > 0) pollAt = now
      plan()
      await federation.reload()
    },
    applied(identity) {
      inForce = identity.trust
    },
    status() {
      const { identity, trust } = held ?? {}
      const polls = pollError?.reason === 'ERR_CA_SEQUENCE' || pollFailures >= TOLERATED_POLLS ? pollError : undefined
      const certificate = statusOf('certificate', identity && digestOf(Buffer.from(identity.certificatePem)), identitySince, renewalError)
      const bundle = statusOf('bundle', trust?.digest, trustSince, polls ?? federationError)
      return [certificate, bundle, ...federation.status()]
    },
    async issueJwtSvid(audience) {
      if (held === undefined) throw new TypeError('The source is made once there is an identity.')
      const minted = await conversation.mint(held, audience)
      if ('ok' in minted) throw new PosternError(minted.reason, `${minted.detail}.`)
      return minted
    },
    origin: () => ({
      source: 'ca',
      address: client.name,
      nextRenewal: renewAt,
      lastRenewal,
      lastError,
      failures: renewalFailures,
      sequence: held?.sequence,
      acknowledged,
      clockAhead: client.skew,
      cacheError,
    }),
    close,
  }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
