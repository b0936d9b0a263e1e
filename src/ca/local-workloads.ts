/**
 * The Workload API of the authority itself, for workloads on its machine: a socket for each identity, and whoever may open it is that workload
 * (docs/workload-api.md). Certificates are issued here, by the same rules and into the same records as all others:
 *
 *   asked for ──▶ held ──▶ renewed at half of its life, with a new key ──▶ held ──▶ …       a failure is tried again; what was held stays
 */
import { createHash } from 'node:crypto'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { Refusal } from '#base/result'
import { formatAddress } from '#base/units'
import type { WorkloadSocketConfig } from '#config/ca-config'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import type { Log } from '#telemetry/log'
import { serveWorkloadApi, type WorkloadApi } from '#workload-api/serve'
import type { JwtSvid, WorkloadState } from '#workload-api/source'
import type { Attested } from './attest/attestor.ts'
import type { CallerLimits } from './caller-limits.ts'
import type { Issuing } from './issuance.ts'
import type { Publication } from './publication.ts'
import type { Published } from './published.ts'
import type { Issuance } from './store/store.ts'

export interface LocalWorkloadsOptions {
  readonly sockets: readonly WorkloadSocketConfig[]
  readonly published: Pick<Published, 'current'>
  readonly issuing: Issuing
  /** Of JWT-SVIDs that one identity is given. */
  readonly limits: CallerLimits
  readonly clock: Clock
  readonly log: Log
  /** Of issuances and refusals. */
  readonly records: Log
  readonly issued: (issuance: Issuance) => void
  readonly refused: (fault: Refusal) => void
}

export interface LocalWorkloads {
  /** Renews what is due, and passes on what was published. Called every second, and when something is published. */
  look(): void
  close(): Promise<void>
}

/** Ms until what failed is tried again. */
const RETRY = 5_000

interface Held {
  readonly identity: WorkloadIdentity
  /** Key id of the authority that signed it. */
  readonly authority: string
  readonly renewAt: number
}

interface Workload {
  /** The publication may have changed: pass it on, and renew what is due. */
  look(): void
  readonly api: WorkloadApi
}

/** Resolves when every socket is served. @throws PosternError ERR_LISTEN */
export async function serveLocalWorkloads(options: LocalWorkloadsOptions): Promise<LocalWorkloads> {
  const workloads: Workload[] = []
  const close = async (): Promise<void> => void (await Promise.all(workloads.map(({ api }) => api.close())))
  try {
    for (const [index, socket] of options.sockets.entries())
      workloads.push(await serveWorkload(socket, `spec.workloadApi[${index}].listen`, options))
  } catch (error) {
    await close()
    throw error
  }
  return {
    look() {
      for (const workload of workloads) workload.look()
    },
    close,
  }
}

/** Tokens need not be kept here: the Workload API does. */
async function serveWorkload(socket: WorkloadSocketConfig, key: string, options: LocalWorkloadsOptions): Promise<Workload> {
  const { published, issuing, limits, clock, log, records } = options
  const { id, listen, access } = socket
  const attested: Attested = { id, by: 'socket', evidence: formatAddress(listen) }
  const listeners = new Set<() => void>()
  let held: Held | undefined
  let renewing = false
  let retryAt = -Infinity
  let seen: Publication | undefined
  let state: WorkloadState | undefined
  let wasOffered = false

  function recordIssued(issuance: Issuance): void {
    options.issued(issuance)
    const { kind, serial, authority, keyHash, notAfter } = issuance
    const ends = new Date(notAfter).toISOString()
    records.info(
      { kind, id: id.uri, serial, authority, attested_by: attested.by, evidence: attested.evidence, key_hash: keyHash, not_after: ends },
      'issued',
    )
  }

  function recordRefused(fault: Refusal): void {
    options.refused(fault)
    records.warn({ call: 'workload-api', reason: fault.reason, detail: fault.detail, id: id.uri, evidence: attested.evidence }, 'refused')
  }

  async function renew(): Promise<void> {
    const privateKey = await generatePrivateKey()
    const issued = await issuing.x509(attested, requestSvid(privateKey), undefined, published.current)
    if (!issued.ok) {
      recordRefused(issued)
      throw new PosternError(issued.reason, issued.detail)
    }
    const { issuance, svid, renewAt } = issued.value
    recordIssued(issuance)
    const identity = readWorkloadIdentity({ certificatePem: svid.join(''), keyPem: privateKeyPem(privateKey) })
    held = { identity, authority: issuance.authority, renewAt }
  }

  function isDue(now: number): boolean {
    if (renewing || now < retryAt) return false
    if (held === undefined) return true
    // A clock that was set back makes a certificate of the future.
    return now >= held.renewAt || now < held.identity.facts.notBefore || published.current.tainted.has(held.authority)
  }

  function begin(now: number): Promise<void> {
    renewing = true
    return renew()
      .then(tell, (error: unknown) => {
        if (!(error instanceof PosternError)) throw error
        retryAt = now + RETRY
        log.error({ err: error, id: id.uri, socket: listen.path }, 'a workload of this machine gets no certificate; trying again')
      })
      .finally(() => {
        renewing = false
      })
  }

  /** What may be shown now: nothing that has ended, or is revoked. */
  function offered(now: number): Held | undefined {
    if (held === undefined || now >= held.identity.facts.notAfter) return undefined
    const { identity } = held
    const authorities = identity.chain.slice(1).map((der) => createHash('sha256').update(der).digest('hex'))
    const peer = { id: identity.id, certificate: identity.facts, authorities }
    return published.current.trust.revocations.isRevoked(peer) ? undefined : held
  }

  function tell(): void {
    const found = offered(clock.now())
    const { current } = published
    state = found === undefined ? undefined : { identities: [{ identity: found.identity, hint: '' }], trust: current.trust }
    seen = current
    wasOffered = found !== undefined
    for (const listener of listeners) listener()
  }

  async function issueJwtSvid(audience: readonly string[]): Promise<JwtSvid> {
    const now = clock.now()
    const wait = limits.take(id.uri, now)
    if (wait > 0) throw new PosternError('ERR_CA_CALLER_LIMIT', `${id.uri} may have another token in ${Math.ceil(wait / 1000)} s.`)
    const issued = await issuing.jwt(attested, audience, published.current)
    if (!issued.ok) {
      recordRefused(issued)
      throw new PosternError(issued.reason, issued.detail)
    }
    const { token, issuance } = issued.value
    recordIssued(issuance)
    return { token, expiresAt: issuance.notAfter }
  }

  const source = {
    get current() {
      return state
    },
    subscribe(listener: () => void) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    issueJwtSvid: (_id: unknown, audience: readonly string[]) => issueJwtSvid(audience),
  }
  // Whoever waits for the socket may ask at once.
  await begin(clock.now())
  const api = await serveWorkloadApi({ socket: listen.path, access, key, source, clock, log })
  return {
    api,
    look() {
      const now = clock.now()
      if (published.current !== seen || (wasOffered && offered(now) === undefined)) tell()
      if (isDue(now)) void begin(now)
    },
  }
}
