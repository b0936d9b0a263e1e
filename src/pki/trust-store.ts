/** The bundles of all trust domains known here, side by side and never merged, with the revocations that hold against them. */
import { hash, type X509Certificate } from 'node:crypto'
import { type BoundedCache, createBoundedCache } from '#base/bounded-cache'
import { PosternError } from '#base/errors'
import type { Peer } from '#identity/peer'
import type { Bundle, Root } from './bundle.ts'
import type { LeafFacts } from './leaf-facts.ts'
import { NO_REVOCATIONS, type Revocations } from './revocations.ts'

/** A certificate as OpenSSL and as we read it. */
export interface Certificate {
  readonly x509: X509Certificate
  readonly facts: LeafFacts
}

/** A peer whose path leads to a root of its own trust domain. Times are ms since the epoch, both ends included. */
export interface AcceptedPeer {
  readonly ok: true
  readonly value: Peer
  /** Since when everything on its path is valid. */
  readonly validFrom: number
  /** The first end of validity on its path, at which it is no longer known. */
  readonly validUntil: number
}

/** Immutable but for its memory, which holds nothing that these roots and revocations would not find again. */
export interface TrustStore {
  readonly ownTrustDomain: string
  readonly bundles: ReadonlyMap<string, Bundle>
  /** There are bundles of other trust domains, so that one path must be shown to be the only one. */
  readonly federated: boolean
  /** Every root of every bundle, by fingerprint. */
  readonly roots: ReadonlyMap<string, Root>
  /** The same roots, in the order of the bundles. */
  readonly allRoots: readonly Root[]
  /** By subject key identifier, each together with the roots that have none: who may have issued a certificate that names that key. */
  readonly rootsByKeyId: ReadonlyMap<string, readonly Root[]>
  readonly rootsWithoutKeyId: readonly Root[]
  readonly revocations: Revocations
  /** SHA-256 over what decides who is trusted: equal digests, equal verdicts. */
  readonly digest: string
  /** Intermediates that stood on an accepted path, by fingerprint. */
  readonly intermediates: BoundedCache<string, Certificate>
  /** `child issuer` fingerprints of certificates above leaves whose signature was verified. */
  readonly signatures: BoundedCache<string, true>
  /** Peers that were accepted over a connection, by role and the SHA-256 of each certificate that they sent. */
  readonly peers: BoundedCache<string, AcceptedPeer>
}

const REMEMBERED = 1024
const REMEMBERED_PEERS = 4096

/** @throws ERR_BUNDLE_EMPTY without a bundle for `ownTrustDomain`, ERR_BUNDLE_CONFLICT where two domains could be mistaken for each other */
export function createTrustStore(
  ownTrustDomain: string,
  bundles: readonly Bundle[],
  revocations: Revocations = NO_REVOCATIONS,
): TrustStore {
  const byDomain = new Map<string, Bundle>()
  for (const bundle of bundles) {
    if (byDomain.has(bundle.trustDomain)) {
      throw new PosternError('ERR_BUNDLE_CONFLICT', `There are two bundles for ${bundle.trustDomain}; give one, with all its authorities.`)
    }
    byDomain.set(bundle.trustDomain, bundle)
  }
  if (!byDomain.has(ownTrustDomain)) {
    throw new PosternError(
      'ERR_BUNDLE_EMPTY',
      `There is no bundle for our own trust domain ${ownTrustDomain}; without it nobody can be let in.`,
    )
  }
  const roots = bundles.flatMap((bundle) => bundle.roots)
  refuseConflicts(roots)
  return {
    ownTrustDomain,
    bundles: byDomain,
    federated: byDomain.size > 1,
    roots: new Map(roots.map((root) => [root.fingerprint, root])),
    allRoots: roots,
    ...indexByKeyId(roots),
    revocations,
    digest: digestOf(ownTrustDomain, bundles, revocations),
    intermediates: createBoundedCache(REMEMBERED),
    signatures: createBoundedCache(REMEMBERED),
    peers: createBoundedCache(REMEMBERED_PEERS),
  }
}

/** The two trust the same, so that a reload from one to the other has nothing to do. */
export function isSameTrust(a: TrustStore, b: TrustStore): boolean {
  return a.digest === b.digest
}

/** Fingerprints of the roots that `after` no longer has, or has under another trust domain: who chains to them is no longer trusted. */
export function removedRoots(before: TrustStore, after: TrustStore): ReadonlySet<string> {
  const removed = new Set<string>()
  for (const [fingerprint, { trustDomain }] of before.roots) {
    if (after.roots.get(fingerprint)?.trustDomain !== trustDomain) removed.add(fingerprint)
  }
  return removed
}

function indexByKeyId(roots: readonly Root[]): Pick<TrustStore, 'rootsByKeyId' | 'rootsWithoutKeyId'> {
  const rootsWithoutKeyId = roots.filter((root) => root.facts.extensions.subjectKeyId === undefined)
  const rootsByKeyId = new Map<string, Root[]>()
  for (const root of roots) {
    const keyId = root.facts.extensions.subjectKeyId
    if (keyId === undefined) continue
    const group = rootsByKeyId.get(keyId)
    if (group === undefined) rootsByKeyId.set(keyId, [root, ...rootsWithoutKeyId])
    else group.unshift(root)
  }
  return { rootsByKeyId, rootsWithoutKeyId }
}

// Roots that share a key, or a name and key identifier, can each stand above the same certificate: no path would be the only one.
function refuseConflicts(roots: readonly Root[]): void {
  const owners = new Map<string, Root>()
  for (const root of roots) {
    const { certificate, extensions } = root.facts
    for (const mark of [`key ${certificate.spkiHash}`, `name ${canonicalName(root.x509.subject)} ${extensions.subjectKeyId ?? ''}`]) {
      const owner = owners.get(mark) ?? root
      owners.set(mark, owner)
      if (owner.trustDomain === root.trustDomain) continue
      throw new PosternError(
        'ERR_BUNDLE_CONFLICT',
        `${owner.trustDomain} and ${root.trustDomain} share an authority's ${mark.startsWith('key') ? 'key' : 'name and key identifier'}; give each its own.`,
        { facts: { fingerprints: [owner.fingerprint, root.fingerprint] } },
      )
    }
  }
}

/** Names as OpenSSL compares them: without regard to case, or to how much white space there is. */
function canonicalName(name: string | undefined): string {
  return (name ?? '')
    .toLowerCase()
    .replace(/[^\S\n]+/g, ' ')
    .replace(/^ | $/gm, '')
}

function digestOf(ownTrustDomain: string, bundles: readonly Bundle[], revocations: Revocations): string {
  const lines = bundles.map(({ trustDomain, roots, jwtKeys }) => {
    const fingerprints = roots.map((root) => root.fingerprint).toSorted()
    return JSON.stringify([trustDomain, fingerprints, jwtKeys.map((key) => JSON.stringify(key)).toSorted()])
  })
  return hash('sha256', [ownTrustDomain, revocations.digest, ...lines.toSorted()].join('\n'), 'hex')
}
