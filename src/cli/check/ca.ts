/** Checks of an identity that the certificate authority issues: what can be said without spending a token, and what a running sidecar tells. */
import type { CaIdentityConfig, SidecarConfig } from '#config/sidecar-config'
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { PosternError } from '#base/errors'
import { systemClock } from '#base/clock'
import { readAnchor, readToken } from '#svid-source/ca-inputs'
import { type CaReply, createCaClient } from '#svid-source/ca-client'
import { acceptKept, type Held } from '#svid-source/ca-state'
import { loadKept } from '#svid-source/ca-cache'
import { type Bundle, readBundle } from '#pki/bundle'
import type { TrustStore } from '#pki/trust-store'
import { askAdmin } from '../admin-client.ts'
import { type CheckResult, judged, passed, skipped } from './catalogue.ts'
import { checkAuthorities, checkTimes, type CheckedIdentity } from './identity.ts'
import { iso, span } from './times.ts'

/** A clock that is wrong by more than issuers allow for. */
const SKEW = 60_000
const SKEW_WARNING = 5_000
/** Tries in a row that failed before it is no passing trouble. */
const STUCK = 3
const LARGEST_FILE = 1024 * 1024

/** What `/v1/identity` tells, as far as it is looked at. */
interface RunningIdentity {
  readonly id: string
  readonly not_before: string
  readonly not_after: string
  readonly source?: {
    readonly kind: string
    readonly next_renewal: string | null
    readonly last_error: { readonly at: string; readonly reason: string; readonly detail: string } | null
    readonly failures: number
    readonly cache_error: string | null
  }
}

export async function checkCaIdentity(ca: CaIdentityConfig, config: SidecarConfig, offline: boolean): Promise<CheckedIdentity> {
  const now = systemClock.now()
  const { anchor, bundles, results } = await checkFiles(ca, config)
  if (anchor === undefined) return { results, identity: undefined }
  const kept = await checkCache(ca, anchor, bundles, now, results)
  if (bundles.length > 0) results.push(checkAuthorities(bundles, now))
  const running = offline ? undefined : await askIdentity(config)
  results.push(...checkCertificate(running, kept, now), await checkAttestation(ca, running !== undefined || kept !== undefined))
  if (!offline) results.push(...(await checkAuthority(ca, anchor, kept)), checkRenewal(running, now))
  const usable = kept !== undefined && kept.identity.facts.notAfter > now
  return { results, identity: usable ? kept : undefined }
}

interface Files {
  readonly anchor: TrustStore | undefined
  readonly bundles: readonly Bundle[]
  readonly results: CheckResult[]
}

async function checkFiles(ca: CaIdentityConfig, { federation }: SidecarConfig): Promise<Files> {
  const unreadable: string[] = []
  const faults: string[] = []
  const bundles: Bundle[] = []
  let anchor: TrustStore | undefined
  for (const { trustDomain, bundle: path } of [{ trustDomain: undefined, bundle: ca.bundle }, ...federation]) {
    const read = await readBoundedFile(path, LARGEST_FILE)
    if (isFault(read)) {
      unreadable.push(`${read.fault}.`)
      continue
    }
    try {
      if (trustDomain !== undefined) bundles.push(readBundle(decodeUtf8(read.content) ?? '', trustDomain, path))
      else {
        anchor = (await readAnchor(ca)).trust
        bundles.push(...anchor.bundles.values())
      }
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      faults.push(error.message.trim())
    }
  }
  return { anchor, bundles, results: [judged('identity-files', unreadable), judged('bundles-valid', faults)] }
}

async function checkCache(
  ca: CaIdentityConfig,
  { ownTrustDomain: trustDomain }: TrustStore,
  bundles: readonly Bundle[],
  now: number,
  results: CheckResult[],
): Promise<Held | undefined> {
  if (ca.cache === undefined) return undefined
  const federated = bundles.filter((bundle) => bundle.trustDomain !== trustDomain)
  try {
    const kept = await loadKept(ca.cache)
    results.push(passed('identity-cache', kept === undefined ? 'There is none yet.' : ''))
    return kept && acceptKept(kept, { name: 'the authority', trustDomain, federated, now })
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    results.push(judged('identity-cache', [error.message], 'warning'))
    return undefined
  }
}

async function askIdentity({ admin }: SidecarConfig): Promise<RunningIdentity | undefined> {
  if (admin === undefined) return undefined
  try {
    const { status, body } = await askAdmin(admin, '/v1/identity')
    return status === 200 ? (body as RunningIdentity) : undefined
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

/** Of the running sidecar, else of what it kept. */
function checkCertificate(running: RunningIdentity | undefined, kept: Held | undefined, now: number): readonly CheckResult[] {
  if (running !== undefined) return checkTimes(Date.parse(running.not_before), Date.parse(running.not_after), now)
  if (kept !== undefined) return checkTimes(kept.identity.facts.notBefore, kept.identity.facts.notAfter, now)
  return [skipped('certificate-expiry', 'no sidecar runs, and none has kept its certificate')]
}

/** A join token is gone once it was used: that is a fault only for who still needs it. */
async function checkAttestation(ca: CaIdentityConfig, hasIdentity: boolean): Promise<CheckResult> {
  const token = await readToken(ca)
  if (typeof token === 'string') return passed('ca-attestation')
  if (hasIdentity && ca.attest.method === 'joinToken')
    return skipped('ca-attestation', 'the join token is gone, and there is an identity to renew')
  return judged('ca-attestation', [`${token.detail}.`])
}

/** By a question that needs no identity: the bundle is for anyone. */
async function checkAuthority(ca: CaIdentityConfig, anchor: TrustStore, kept: Held | undefined): Promise<readonly CheckResult[]> {
  const client = createCaClient({ address: ca.address, clock: systemClock })
  try {
    let reply: CaReply = await client.get('/v1/bundle', { identity: undefined, trust: kept?.trust ?? anchor })
    if (!reply.ok && reply.reason === 'ERR_CA_SERVER' && kept !== undefined)
      reply = await client.get('/v1/bundle', { identity: undefined, trust: anchor })
    const reached = reply.ok ? passed('ca-reachable', client.name) : judged('ca-reachable', [`${reply.detail}. (${reply.reason})`])
    const { skew } = client
    if (skew === undefined) return [reached, skipped('ca-clock', 'the authority told no time')]
    const ahead = `The clock of this host is ${span(Math.abs(skew))} ${skew > 0 ? 'ahead of' : 'behind'} the authority’s.`
    const off = Math.abs(skew) > SKEW_WARNING ? [ahead] : []
    return [reached, judged('ca-clock', off, Math.abs(skew) > SKEW ? 'failed' : 'warning')]
  } finally {
    client.close()
  }
}

function checkRenewal(running: RunningIdentity | undefined, now: number): CheckResult {
  const source = running?.source
  if (source === undefined || source.kind !== 'ca') return skipped('ca-renewal', 'no sidecar runs that renews')
  const error = source.last_error
  const why = error === null ? '' : ` Last, at ${error.at}: ${error.detail} (${error.reason}).`
  const overdue = source.next_renewal !== null && now - Date.parse(source.next_renewal) > SKEW
  const stuck = source.failures === 0 && !overdue ? [] : [`${source.failures} tries in a row failed to renew it.${why}`]
  const cache = source.cache_error === null ? [] : [source.cache_error]
  const next = source.next_renewal === null ? '' : `It is renewed at ${iso(Date.parse(source.next_renewal))}.`
  if (stuck.length + cache.length === 0) return passed('ca-renewal', next)
  return judged('ca-renewal', [...stuck, ...cache], source.failures >= STUCK || overdue ? 'failed' : 'warning')
}
