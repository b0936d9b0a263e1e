/** The certificate authority put together: store, authorities, attestors, API, listener, and what happens by the clock. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { CaConfig } from '#config/ca-config'
import type { RandomHex } from '#http/random-hex'
import type { WorkloadIdentity } from '#pki/workload-identity'
import type { ReadinessCheck } from '#telemetry/health'
import type { Log } from '#telemetry/log'
import type { Metrics } from '#telemetry/metrics'
import { adoptAuthority } from './adopt.ts'
import { createApi } from './api.ts'
import { openAuthorityKeys } from './authority-keys.ts'
import { openAttestors } from './attest/open.ts'
import { createCaMetrics } from './ca-metrics.ts'
import { createCallerLimits } from './caller-limits.ts'
import { createIssuerCache, type X509Issuer } from './issuers.ts'
import { createIssuing } from './issuance.ts'
import { makeOwnIdentity, renewalOf } from './own-identity.ts'
import type { Publication } from './publication.ts'
import { openPublished } from './published.ts'
import { createReturnSlots } from './return-slots.ts'
import { openCaServer } from './server.ts'
import { PURGE_BATCH, type Store } from './store/store.ts'
import { expiryWarnings } from './warnings.ts'

export interface CaOptions {
  readonly config: CaConfig
  /** Closed by whoever opened it. */
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  /** Of issuances and refusals. */
  readonly records: Log
  readonly metrics: Metrics
  /** [0, 1). */
  readonly random: () => number
  readonly randomHex: RandomHex
}

export interface RunningCa {
  readonly port: number
  /** 0 where there is none. */
  readonly bundlePort: number
  readonly id: string
  readonly draining: boolean
  readonly publication: Publication
  readonly checks: readonly ReadinessCheck[]
  /** Reads the store again, now. */
  refresh(): Promise<void>
  /** Lets requests in work end, at most `limit` ms; 10 s unless said. */
  close(limit?: number): Promise<void>
}

const TICK = 1_000
const PURGE_INTERVAL = 600_000
const DRAIN_TIME = 10_000
/** Failed attestations that one address may make. */
const FAILURES = { perMinute: 300, burst: 300 }
/** Callers turned away under load that come back in the same second, and the longest anyone is told to stay away. */
const RETURN_SLOTS = { perSecond: 200, longest: 60 }
/** The CA's own certificate: as long as it may be, since only the CA renews it. */
const LONGEST_OWN = 86_400_000

/** @throws PosternError where it cannot start: no authority, no store, no address */
export async function startCa(options: CaOptions): Promise<RunningCa> {
  const { config, store, clock, log, records, metrics } = options
  const { trustDomain } = config
  const keys = openAuthorityKeys(config.keys.folder)
  const adopted = await adoptAuthority({ store, keys, trustDomain, folder: config.authority, now: clock.now() })
  if (adopted !== undefined) log.info({ authority: adopted }, `took over the authority in ${keys.folder}`)
  const refreshHint = Math.max(1, Math.round(config.refreshHint / 1000))
  const published = await openPublished({ store, issuers: createIssuerCache(keys, trustDomain), trustDomain, refreshHint, log })
  let own = ownIdentityOf(published.current, clock)
  let draining = false
  let purgeAt = clock.now() + PURGE_INTERVAL
  let warned = ''

  const attestors = await openAttestors({ config, store, clock, log, random: options.random })
  const caMetrics = createCaMetrics(metrics, {
    now: () => clock.now(),
    connections: () => server.connections,
    inFlight: () => api.inFlight,
    storeUp: () => store.fault === undefined,
    publication: () => published.current,
    ownNotAfter: () => own.identity.facts.notAfter,
  })
  const issuing = createIssuing({ store, clock, trustDomain, svid: config.svid })
  const limits = createCallerLimits({ perMinute: config.limits.issuancesPerMinute, burst: config.limits.burst })
  const api = createApi({
    store,
    published,
    issuing,
    attestors: attestors.byType,
    podCertificate: config.attest.podCertificate,
    limits,
    failures: createCallerLimits(FAILURES),
    slots: createReturnSlots(RETURN_SLOTS),
    inFlight: config.limits.inFlight,
    poll: config.poll,
    svidLife: config.svid.x509,
    clock,
    metrics: caMetrics,
    records,
    log,
  })
  const server = await openCaServer({
    listen: config.listen,
    identity: own.identity,
    trust: published.current.trust,
    api,
    connections: config.limits.connections,
    clock,
    randomHex: options.randomHex,
    onHandshakeRefused(reason, source) {
      caMetrics.handshakeRefused(reason)
      records.debug({ reason, source_ip: source }, 'handshake refused')
    },
    onMalformed(requestId, fault, source) {
      caMetrics.refused('malformed', fault.reason)
      records.warn({ request_id: requestId, call: 'malformed', reason: fault.reason, detail: fault.detail, source_ip: source }, 'refused')
    },
  })
  const endpoint =
    config.bundleEndpoint === undefined
      ? undefined
      : await (
          await import('./bundle-endpoint.ts')
        ).openBundleEndpoint({ config: config.bundleEndpoint, identity: own.identity, published, clock, log })
  const workloads =
    config.workloadApi === undefined
      ? undefined
      : await (
          await import('./local-workloads.ts')
        ).serveLocalWorkloads({
          sockets: config.workloadApi,
          published,
          issuing,
          limits,
          clock,
          log,
          records,
          issued: (issuance) => caMetrics.issued(issuance),
          refused: ({ reason }) => caMetrics.refused('workload-api', reason),
        })

  function ownIdentityOf(
    publication: Publication,
    at: Clock,
  ): { readonly identity: WorkloadIdentity; readonly issuer: X509Issuer; readonly renewAt: number } {
    const issuer = publication.own
    if (issuer === undefined)
      throw new PosternError('ERR_CA_NO_AUTHORITY', `No authority can sign: ${publication.faults.join(' ') || 'none is active'}`)
    const identity = makeOwnIdentity(issuer, at, Math.min(LONGEST_OWN, config.svid.max))
    return { identity, issuer, renewAt: renewalOf(identity, at.now()) }
  }

  /** Another certificate of our own where the old one is half over, of an authority that is to go, or from before the clock was set back. */
  function renewOwn(): void {
    const { own: issuer } = published.current
    const now = clock.now()
    const stays = issuer?.authority.keyId === own.issuer.authority.keyId && now < own.renewAt && now >= own.identity.facts.notBefore
    if (issuer === undefined || stays) return
    try {
      own = ownIdentityOf(published.current, clock)
      caMetrics.ownCertificate(own.identity.facts.notAfter)
      log.info({ serial: own.identity.facts.serial, authority: own.issuer.authority.keyId }, 'renewed its own certificate')
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      own = { ...own, renewAt: now + 60_000 }
      log.error({ err: error }, 'its own certificate cannot be renewed')
    }
  }

  function apply(): void {
    renewOwn()
    server.apply(own.identity, published.current.trust)
    endpoint?.apply(own.identity)
    workloads?.look()
  }

  async function purge(): Promise<void> {
    const before = clock.now() - config.store.keep
    await store.asLeader(async () => {
      while ((await store.purge(before)) === PURGE_BATCH) {
        // Goes on until less than a batch is left; each batch is a commit of its own.
      }
    })
  }

  function tick(): void {
    apply()
    const warnings = expiryWarnings(published.current, clock.now())
    if (warnings.join() !== warned) for (const each of warnings) log.warn({}, each)
    warned = warnings.join()
    if (clock.now() < purgeAt) return
    purgeAt = clock.now() + PURGE_INTERVAL
    void purge().catch((error: unknown) => log.error({ err: error }, 'what is over could not be forgotten'))
  }

  published.subscribe((publication) => {
    caMetrics.published(publication)
    apply()
  })
  caMetrics.published(published.current)
  caMetrics.ownCertificate(own.identity.facts.notAfter)
  const timer = setInterval(tick, TICK).unref()
  tick()

  const checks: readonly ReadinessCheck[] = [
    { name: 'store', run: () => ({ ok: store.fault === undefined, detail: store.fault?.detail ?? '' }) },
    {
      name: 'authority',
      run() {
        const { x509, faults } = published.current
        const now = clock.now()
        const isValid = x509 !== undefined && now >= x509.authority.notBefore && now < x509.authority.notAfter
        return { ok: isValid, detail: [...faults, ...expiryWarnings(published.current, now)].join(' ') }
      },
    },
    { name: 'publication', run: () => ({ ok: true, detail: published.fault ?? '' }) },
  ]

  return {
    port: server.port,
    bundlePort: endpoint?.port ?? 0,
    id: own.identity.id.uri,
    get draining() {
      return draining
    },
    get publication() {
      return published.current
    },
    checks,
    async refresh() {
      await published.refresh()
    },
    async close(limit = DRAIN_TIME) {
      draining = true
      clearInterval(timer)
      await Promise.all([server.drain(limit), endpoint?.close(), workloads?.close()])
      published[Symbol.dispose]()
      attestors.close()
    },
  }
}
