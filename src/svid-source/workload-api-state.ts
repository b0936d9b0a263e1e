/** From what a Workload API offers to what goes into force: which identity, which bundles, and whether peers would take it. */
import { PosternError } from '#base/errors'
import { problemsOf } from '#config/problems'
import type { WorkloadApiIdentityConfig } from '#config/sidecar-config'
import type { Identity } from '#config/snapshot'
import { parseSpiffeId } from '#identity/spiffe-id'
import { type Bundle, readBundle } from '#pki/bundle'
import { hasMore, isMalformed, openDer, readElement, TAG } from '#pki/der'
import { verifyChain } from '#pki/path-verdict'
import { certificatesPem, formatPem } from '#pki/pem'
import { readSpiffeBundle } from '#pki/spiffe-bundle'
import { createTrustStore, isSameTrust } from '#pki/trust-store'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import type { OfferedSvid, X509Update } from '#workload-api/client'

export interface Circumstances {
  /** Of the Workload API, for messages. */
  readonly name: string
  readonly wanted: Pick<WorkloadApiIdentityConfig, 'id' | 'hint'>
  /** ID of a trust domain → JWK Set. */
  readonly jwtBundles: ReadonlyMap<string, string>
  /** Ms since the epoch. */
  readonly now: number
}

export interface Accepted extends Identity {
  /** Bundles of other trust domains that are left out, and why: one sentence each. */
  readonly problems: readonly string[]
}

/** @throws PosternError: nothing of the update can go into force */
export function acceptUpdate(update: X509Update, before: Identity | undefined, circumstances: Circumstances): Accepted {
  const { name, now } = circumstances
  const offered = choose(update.svids, circumstances)
  const identity = reuse(readIdentity(offered, name), before?.identity)
  const { trustDomain } = identity.id
  const problems: string[] = []
  const withKeys = (bundle: Bundle): Bundle => {
    try {
      return { ...bundle, jwtKeys: readJwtKeys(bundle.trustDomain, circumstances) }
    } catch (error) {
      // Whoever shows a JWT-SVID of it is not believed then; X.509 does without.
      problems.push(sentenceOf(error))
      return bundle
    }
  }
  const bundles = [withKeys(readDomain(trustDomain, offered.bundle, name))]
  for (const [id, ders] of update.federated) {
    const domain = trustDomainOf(id)
    try {
      if (domain === undefined) throw unusable(name, `\`${id}\` is not the ID of a trust domain`)
      if (domain !== trustDomain) bundles.push(withKeys(readDomain(domain, ders, name)))
    } catch (error) {
      // Whoever it is a bundle of is not trusted then; that is no reason to be without an identity.
      problems.push(sentenceOf(error))
    }
  }
  const made = createTrustStore(trustDomain, bundles)
  const trust = before !== undefined && isSameTrust(made, before.trust) ? before.trust : made
  for (const role of ['client', 'server'] as const) {
    const verdict = verifyChain(identity.chain, trust, now, role)
    if (!verdict.ok)
      throw unusable(name, `peers would refuse ${identity.id.uri}: ${verdict.reason}${verdict.detail && ` (${verdict.detail})`}`)
  }
  return { identity, trust, problems }
}

export function sentenceOf(error: unknown): string {
  return problemsOf(error, '')
    .map(({ message }) => message)
    .join(' ')
}

/** By hint, by ID, or the only one there is. Of equal hints the first (SPIFFE_Workload_API §5.2.1). */
function choose(svids: readonly OfferedSvid[], { name, wanted: { id, hint } }: Circumstances): OfferedSvid {
  const fitting = svids.filter((svid) => (id === undefined || svid.id === id.uri) && (hint === undefined || svid.hint === hint))
  const [first] = fitting
  const asked = [...(id === undefined ? [] : [`the ID ${id.uri}`]), ...(hint === undefined ? [] : [`the hint \`${hint}\``])]
  if (first === undefined) {
    const message = `The Workload API at ${name} offers no identity with ${asked.join(' and ')}, but ${list(svids)}.`
    throw new PosternError('ERR_WORKLOAD_API_CHOICE', message, { facts: { final: false } })
  }
  if (asked.length === 0 && new Set(svids.map((svid) => svid.id)).size > 1) {
    const message = `The Workload API at ${name} offers several identities: ${list(svids)}. Name one under \`spec.identity.workloadApi\`, as \`id\` or as \`hint\`.`
    throw new PosternError('ERR_WORKLOAD_API_CHOICE', message, { facts: { final: true } })
  }
  return first
}

function list(svids: readonly OfferedSvid[]): string {
  return svids.map(({ id, hint }) => (hint === '' ? id : `${id} (\`${hint}\`)`)).join(', ')
}

function readIdentity({ id, chain, key }: OfferedSvid, name: string): WorkloadIdentity {
  const keyPem = formatPem('PRIVATE KEY', key)
  const identity = readWorkloadIdentity({ certificatePem: certificatesPem(split(chain, name, `the chain of ${id}`)), keyPem })
  if (identity.id.uri !== id) throw unusable(name, `it calls ${identity.id.uri} ${id}`)
  return identity
}

function reuse(identity: WorkloadIdentity, before: WorkloadIdentity | undefined): WorkloadIdentity {
  return before?.certificatePem === identity.certificatePem && before.keyPem === identity.keyPem ? before : identity
}

/** Good for X509-SVIDs alone (SPIFFE_Workload_API §5.2.1). */
function readDomain(trustDomain: string, ders: Uint8Array, name: string): Bundle {
  return readBundle(certificatesPem(split(ders, name, `the bundle of ${trustDomain}`)), trustDomain, `of ${name}`)
}

/** Good for JWT-SVIDs alone (SPIFFE_Workload_API §6.2.2): a key of another use is passed over. */
function readJwtKeys(trustDomain: string, { name, jwtBundles }: Circumstances): Bundle['jwtKeys'] {
  const keySet = jwtBundles.get(`spiffe://${trustDomain}`)
  if (keySet === undefined) return []
  return readSpiffeBundle(withUse(keySet), (why) => unusable(name, `the JWT bundle of ${trustDomain} cannot be read: ${why}`)).jwtKeys
}

/** SPIRE leaves `use` out of the keys of JWT bundles; there it can be nothing else. */
function withUse(keySet: string): string {
  try {
    const document = JSON.parse(keySet) as { readonly keys?: unknown }
    if (!Array.isArray(document.keys)) return keySet
    const keys: readonly unknown[] = document.keys
    return JSON.stringify({ keys: keys.map((key) => (typeof key === 'object' && key !== null ? { use: 'jwt-svid', ...key } : key)) })
  } catch {
    return keySet
  }
}

function split(ders: Uint8Array, name: string, what: string): Buffer[] {
  const cursor = openDer(Buffer.from(ders.buffer, ders.byteOffset, ders.byteLength))
  const certificates: Buffer[] = []
  while (hasMore(cursor)) certificates.push(readElement(cursor, TAG.sequence))
  if (isMalformed(cursor)) throw unusable(name, `${what} is not DER, one certificate behind the other`)
  return certificates
}

function trustDomainOf(id: string): string | undefined {
  const parsed = parseSpiffeId(id)
  return parsed.ok && parsed.value.path === '' ? parsed.value.trustDomain : undefined
}

function unusable(name: string, why: string): PosternError {
  return new PosternError('ERR_WORKLOAD_API_ANSWER', `What the Workload API at ${name} sent cannot be used: ${why}.`)
}
