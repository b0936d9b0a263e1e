/** From what the authority says to what goes into force: each answer is held to the rules that peers hold us to, or leaves all as it was. */
import { PosternError } from '#base/errors'
import type { Identity } from '#config/snapshot'
import { type Bundle, readBundle } from '#pki/bundle'
import { verifyChain } from '#pki/path-verdict'
import { createRevocations, type Revocation } from '#pki/revocations'
import { createTrustStore, isSameTrust, type TrustStore } from '#pki/trust-store'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import type { SvidAnswer, TrustAnswer } from './ca-answer.ts'
import type { KeptIdentity } from './ca-cache.ts'
import { type CaFault, fault } from './ca-client.ts'

/** What is in force, and what it was made of. */
export interface Held extends Omit<Identity, 'lease'> {
  readonly bundle: Bundle
  /** The same as a document, to be kept on disk. */
  readonly bundleText: string
  readonly sequence: number
  readonly revocations: readonly Revocation[]
}

export interface Circumstances {
  /** Of the authority, for messages. */
  readonly name: string
  readonly trustDomain: string
  readonly federated: readonly Bundle[]
  /** Ms since the epoch. */
  readonly now: number
}

interface Trusted {
  readonly bundle: Bundle
  readonly bundleText: string
  readonly sequence: number
  readonly revocations: readonly Revocation[]
  readonly trust: TrustStore
}

/** @param renewed the identity that showed its certificate instead of a token: the new one must have the same ID */
export function acceptSvid(
  answer: SvidAnswer,
  keyPem: string,
  before: Held | undefined,
  renewed: WorkloadIdentity | undefined,
  circumstances: Circumstances,
): Held | CaFault {
  try {
    const trusted = trustAfter(answer.bundle, before, circumstances)
    const identity = readWorkloadIdentity({ certificatePem: answer.certificatePem, keyPem })
    if (renewed !== undefined && renewed.id.uri !== identity.id.uri)
      return unusable(circumstances, `it renewed ${renewed.id.uri} as ${identity.id.uri}`)
    const refused = refusalByPeers(identity, trusted.trust, circumstances)
    return refused === undefined ? { ...trusted, identity } : unusable(circumstances, refused)
  } catch (error) {
    return faultOfAnswer(error, circumstances)
  }
}

/** The newer of the bundle in the answer and the one in force, by sequence. Revocations come with polls alone. */
function trustAfter(text: string, before: Held | undefined, circumstances: Circumstances): Trusted {
  const { trustDomain, name } = circumstances
  const bundle = readBundle(text, trustDomain, `of ${name}`)
  const sequence = Number(bundle.sequence ?? 0)
  if (before !== undefined && sequence <= before.sequence) return before
  const revocations = before?.revocations ?? []
  return { bundle, bundleText: text, sequence, revocations, trust: makeTrust(bundle, revocations, before?.trust, circumstances) }
}

/** What a poll brought. @returns `before` itself where nothing is new */
export function acceptTrust(answer: TrustAnswer, before: Held, circumstances: Circumstances): Held | CaFault {
  const { sequence, revocations, bundle: text } = answer
  const { name, trustDomain } = circumstances
  if (sequence < before.sequence) {
    const detail = `The authority at ${name} went back from sequence ${before.sequence} to ${sequence}; what came with ${before.sequence} stays in force`
    return fault('ERR_CA_SEQUENCE', detail)
  }
  try {
    const bundle = readBundle(text, trustDomain, `of ${name}`)
    const trust = makeTrust(bundle, revocations, before.trust, circumstances)
    if (trust === before.trust && sequence === before.sequence) return before
    return { ...before, bundle, bundleText: text, sequence, revocations, trust }
  } catch (error) {
    return faultOfAnswer(error, circumstances)
  }
}

/** The same under other bundles of federated trust domains. */
export function acceptFederation(before: Held, circumstances: Circumstances): Held | CaFault {
  try {
    const trust = makeTrust(before.bundle, before.revocations, before.trust, circumstances)
    return trust === before.trust ? before : { ...before, trust }
  } catch (error) {
    return faultOfAnswer(error, circumstances)
  }
}

/** @throws ERR_IDENTITY_CACHE where it is no good any more */
export function acceptKept(kept: KeptIdentity, circumstances: Circumstances): Held {
  const passedOver = (why: string): PosternError => new PosternError('ERR_IDENTITY_CACHE', `The kept identity is passed over: ${why}.`)
  try {
    const bundle = readBundle(kept.bundle, circumstances.trustDomain, 'that was kept')
    const trust = makeTrust(bundle, kept.revocations, undefined, circumstances)
    const identity = readWorkloadIdentity(kept)
    const refused = refusalByPeers(identity, trust, circumstances)
    if (refused !== undefined) throw passedOver(refused)
    return { identity, trust, bundle, bundleText: kept.bundle, sequence: kept.sequence, revocations: kept.revocations }
  } catch (error) {
    if (error instanceof PosternError && error.code !== 'ERR_IDENTITY_CACHE') throw passedOver(error.message.replace(/\.$/, ''))
    throw error
  }
}

/** The store in force remembers what it verified: it stays where nothing changed. */
function makeTrust(
  bundle: Bundle,
  revocations: readonly Revocation[],
  before: TrustStore | undefined,
  { trustDomain, federated }: Circumstances,
): TrustStore {
  const made = createTrustStore(trustDomain, [bundle, ...federated], createRevocations(revocations))
  return before !== undefined && isSameTrust(made, before) ? before : made
}

function refusalByPeers({ chain, id }: WorkloadIdentity, trust: TrustStore, { now }: Circumstances): string | undefined {
  for (const role of ['client', 'server'] as const) {
    const verdict = verifyChain(chain, trust, now, role)
    if (!verdict.ok) {
      const detail = verdict.detail === '' ? '' : `: ${verdict.detail}`
      return `the certificate of ${id.uri} would be refused by peers (${verdict.reason}${detail}); by the clock of this host it is ${new Date(now).toISOString()}`
    }
  }
  return undefined
}

function unusable({ name }: Circumstances, why: string): CaFault {
  return fault('ERR_CA_ANSWER', `The answer of the authority at ${name} cannot be used: ${why}`)
}

function faultOfAnswer(error: unknown, circumstances: Circumstances): CaFault {
  if (!(error instanceof PosternError)) throw error
  return unusable(circumstances, `${error.message.replace(/\.$/, '')} (${error.code})`)
}
