/**
 * What the CA makes known, as one immutable value for each sequence of the store: the bundle, the revocations, who signs. Another replica, or
 * `postern ca rotate` beside it, changes the store; this notices, and everything that depends on it follows.
 */
import { hash } from 'node:crypto'
import { PosternError } from '#base/errors'
import { type Bundle, readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { certificatesOfPem } from '#pki/pem'
import { createRevocations, type Revocation } from '#pki/revocations'
import { createTrustStore, type TrustStore } from '#pki/trust-store'
import { type IssuerCache, jwkOf, type JwtIssuer, type X509Issuer } from './issuers.ts'
import type { AuthorityRecord, AuthorityState, RevocationRecord, Trust } from './store/store.ts'

export interface Publication {
  readonly sequence: number
  /** SPIFFE JWKS. */
  readonly bundle: Bundle
  readonly bundleText: string
  /** The same without white space, to be put into answers. */
  readonly bundleJson: string
  /** As `/v1/trust` writes them. */
  readonly revocationsJson: string
  /** Strong entity tag (RFC 9110 §8.8.3), quotes included. */
  readonly etag: string
  /** The bundle with the revocations: what the CA's own clients are held against. */
  readonly trust: TrustStore
  readonly revocations: readonly RevocationRecord[]
  readonly authorities: readonly AuthorityRecord[]
  /** Who signs now; undefined: nobody can. */
  readonly x509: X509Issuer | undefined
  readonly jwt: JwtIssuer | undefined
  /**
   * Who signs the CA's own certificate: the oldest authority that is in the bundle still, so that whoever missed the latest rotation can
   * verify the CA that would tell it.
   */
  readonly own: X509Issuer | undefined
  /** Identities that get no certificate. */
  readonly revokedIds: ReadonlySet<string>
  /** Key ids of authorities whose certificates are to be renewed now. */
  readonly tainted: ReadonlySet<string>
  /** Why an authority that should sign cannot, in sentences. */
  readonly faults: readonly string[]
}

/** In bundles in these states. */
const PUBLISHED: readonly AuthorityState[] = ['published', 'active', 'retired', 'tainted']
/** May have signed certificates that are in use, the oldest first. */
const SIGNED: readonly AuthorityState[] = ['tainted', 'retired', 'active']

export interface PublicationOptions {
  readonly trustDomain: string
  /** Seconds. */
  readonly refreshHint: number
}

/** @throws PosternError where no bundle can be made of it, as when every authority is revoked */
export function publicationOf(trust: Trust, issuers: IssuerCache, { trustDomain, refreshHint }: PublicationOptions): Publication {
  const { sequence, authorities } = trust
  const published = authorities.filter(({ state }) => PUBLISHED.includes(state))
  const bundleText = bundleDocument({
    authorities: rootsOf(published),
    jwtKeys: published.filter(({ kind }) => kind === 'jwt').map(jwkOf),
    sequence: BigInt(sequence),
    refreshHint,
  })
  const bundle = readBundle(bundleText, trustDomain, `of sequence ${sequence}`)
  const faults: string[] = []
  const load = <T>(record: AuthorityRecord | undefined, from: (record: AuthorityRecord) => T): T | undefined => {
    if (record === undefined) return undefined
    try {
      return from(record)
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      faults.push(`${record.state} ${record.kind} authority ${record.id}: ${error.message}`)
      return undefined
    }
  }
  const inState = (kind: AuthorityRecord['kind'], state: AuthorityState): AuthorityRecord | undefined =>
    published.find((record) => record.kind === kind && record.state === state)
  const own = SIGNED.map((state) => load(inState('x509', state), (record) => issuers.x509(record))).find((issuer) => issuer !== undefined)
  return {
    sequence,
    bundle,
    bundleText,
    bundleJson: JSON.stringify(JSON.parse(bundleText)),
    revocationsJson: JSON.stringify(trust.revocations.map(wireRevocation)),
    etag: `"${hash('sha256', bundleText, 'hex').slice(0, 32)}"`,
    trust: createTrustStore(trustDomain, [bundle], createRevocations(trust.revocations.map(toRevocation))),
    revocations: trust.revocations,
    authorities,
    x509: load(inState('x509', 'active'), (record) => issuers.x509(record)),
    jwt: load(inState('jwt', 'active'), (record) => issuers.jwt(record)),
    own,
    revokedIds: new Set(trust.revocations.filter(({ kind }) => kind === 'id').map(({ value }) => value)),
    tainted: new Set(published.filter(({ state, kind }) => kind === 'x509' && state === 'tainted').map(({ id }) => id)),
    faults: [...new Set(faults)],
  }
}

/** Trust anchors, each once, in the order of their authorities: two intermediates may share a root. */
function rootsOf(records: readonly AuthorityRecord[]): readonly Buffer[] {
  const roots = new Map<string, Buffer>()
  for (const { kind, chain } of records) {
    const root = kind === 'x509' ? certificatesOfPem(chain).at(-1) : undefined
    if (root !== undefined) roots.set(root.toString('base64'), root)
  }
  return [...roots.values()]
}

function toRevocation({ kind, value, authority }: RevocationRecord): Revocation {
  if (kind === 'id') return { kind: 'id', id: value }
  if (kind === 'serial') return { kind: 'certificate', issuerKeyId: authority, serial: value }
  return value.length === 64 ? { kind: 'authority', fingerprint: value } : { kind: 'issuer', keyId: value }
}

function wireRevocation({ kind, value, authority, until }: RevocationRecord): object {
  return { kind, value, authority, until: Number.isFinite(until) ? new Date(until).toISOString() : null }
}
