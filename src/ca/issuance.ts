/**
 * Issues SVIDs to whoever has proved an ID: the request is read, the certificate signed, the record made durable, and only then is it handed
 * out. The ID is that of the proof; nothing in the request can add to it.
 */
import { hash } from 'node:crypto'
import type { Clock } from '#base/clock'
import { ok, refusal, type Refusal, type Result } from '#base/result'
import { RESERVED_SEGMENT } from '#identity/id-template'
import { formatPem } from '#pki/pem'
import type { SpiffeId } from '#identity/spiffe-id'
import { checkPossession, type Possession } from '#pki/possession'
import { decodeRequest, readSvidRequest } from '#pki/svid-request'
import type { Attested } from './attest/attestor.ts'
import type { Publication } from './publication.ts'
import type { Issuance, Store } from './store/store.ts'

export interface IssuedX509 {
  readonly issuance: Issuance
  /** PEM: the leaf, then the intermediates. */
  readonly svid: readonly string[]
  /** Ms since the epoch. */
  readonly renewAt: number
  readonly clamped: boolean
}

export interface IssuedJwt {
  readonly issuance: Issuance
  readonly token: string
}

export interface IssuingOptions {
  readonly store: Pick<Store, 'recordIssuance'>
  readonly clock: Clock
  readonly trustDomain: string
  /** Lives in ms. */
  readonly svid: {
    readonly x509: number
    readonly jwt: number
    readonly max: number
    readonly dnsNames?: ReadonlyMap<string, readonly string[]>
  }
}

export interface Issuing {
  /**
   * @param request PEM or base64 of DER of a certificate request; or a key with another proof that it is held
   * @param ttl ms asked for; `svid.x509` unless said, never more than `svid.max`
   * @throws PosternError ERR_CA_STORE… where nothing could be recorded, so that nothing is handed out
   */
  x509(attested: Attested, request: string | Possession, ttl: number | undefined, publication: Publication): Promise<Result<IssuedX509>>
  /** @throws PosternError ERR_CA_STORE… */
  jwt(attested: Attested, audiences: readonly string[], publication: Publication): Promise<Result<IssuedJwt>>
}

/** The CA's own ID: whoever held it could stand in for the CA. */
export function caPath(): string {
  return `/${RESERVED_SEGMENT}/ca`
}

export function createIssuing({ store, clock, trustDomain, svid }: IssuingOptions): Issuing {
  return {
    async x509(attested, request, ttl, { x509: issuer, faults, revokedIds }) {
      const { id } = attested
      const fault = checkId(id, trustDomain, revokedIds)
      if (fault !== undefined) return fault
      const spki = typeof request === 'string' ? keyOfRequest(request, id) : checkPossession(request)
      if (!spki.ok) return spki
      const now = clock.now()
      if (issuer === undefined) return nobody(faults)
      const ended = checkAuthority(issuer.authority, now)
      if (ended !== undefined) return ended
      const dnsNames = svid.dnsNames?.get(id.uri) ?? []
      const signed = issuer.template.sign({ id, spki: spki.value, now, ttl: Math.min(ttl ?? svid.x509, svid.max), dnsNames })
      const issuance: Issuance = {
        kind: 'x509',
        serial: signed.serial,
        spiffeId: id.uri,
        authority: issuer.authority.keyId,
        attestedBy: attested.by,
        evidence: attested.evidence,
        keyHash: hash('sha256', spki.value, 'hex'),
        notBefore: signed.notBefore,
        notAfter: signed.notAfter,
        issuedAt: now,
      }
      const refused = await store.recordIssuance(issuance, attested.joinToken)
      if (refused !== undefined) return refused
      return ok({
        issuance,
        svid: [formatPem('CERTIFICATE', signed.certificate), ...issuer.chainPem],
        renewAt: Math.floor(now + (signed.notAfter - now) / 2),
        clamped: signed.clamped,
      })
    },
    async jwt(attested, audiences, { jwt: issuer, faults, revokedIds }) {
      const { id } = attested
      const fault = checkId(id, trustDomain, revokedIds)
      if (fault !== undefined) return fault
      if (issuer === undefined) return nobody(faults)
      const now = clock.now()
      const ended = checkAuthority({ notBefore: 0, notAfter: issuer.record.notAfter }, now)
      if (ended !== undefined) return ended
      const issuedAt = Math.floor(now / 1000)
      const expiresAt = Math.floor(Math.min(now + svid.jwt, issuer.record.notAfter) / 1000)
      const serial = crypto.randomUUID()
      // Loaded with the first JWT-SVID: many authorities never sign one.
      const { SignJWT } = await import('jose')
      const token = await new SignJWT({ sub: id.uri, aud: [...audiences], iat: issuedAt, exp: expiresAt, jti: serial })
        .setProtectedHeader({ alg: 'ES256', kid: issuer.record.id, typ: 'JWT' })
        .sign(issuer.privateKey)
      const issuance: Issuance = {
        kind: 'jwt',
        serial,
        spiffeId: id.uri,
        authority: issuer.record.id,
        attestedBy: attested.by,
        evidence: attested.evidence,
        keyHash: '',
        notBefore: issuedAt * 1000,
        notAfter: expiresAt * 1000,
        issuedAt: now,
      }
      const refused = await store.recordIssuance(issuance)
      return refused ?? ok({ issuance, token })
    },
  }
}

function checkId({ trustDomain: domain, path, uri }: SpiffeId, trustDomain: string, revoked: ReadonlySet<string>): Refusal | undefined {
  if (domain !== trustDomain) return refusal('ERR_CA_ATTESTED_ID', `${uri} is not of ${trustDomain}`)
  if (path === '') return refusal('ERR_CA_ATTESTED_ID', `${uri} names the trust domain, not a workload`)
  if (path === caPath()) return refusal('ERR_CA_ATTESTED_ID', `${uri} is the authority's own`)
  return revoked.has(uri) ? refusal('ERR_SVID_REVOKED', `the identity ${uri}`) : undefined
}

/** What is signed past its issuer's end, or before its beginning, no peer would take. */
function checkAuthority(
  { notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number },
  now: number,
): Refusal | undefined {
  if (now >= notBefore && now < notAfter) return undefined
  const [when, at] = now < notBefore ? ['begins', notBefore] : ['ended', notAfter]
  const clocks = `it ${when} at ${new Date(at).toISOString()}; by the clock of the authority it is ${new Date(now).toISOString()}`
  return refusal('ERR_CA_NO_AUTHORITY', `the active authority's time is not now: ${clocks}`)
}

function keyOfRequest(csr: string, { uri }: SpiffeId): Result<Buffer> {
  const request = decodeRequest(csr)
  return request.ok ? readSvidRequest(request.value, uri) : request
}

function nobody(faults: readonly string[]): Refusal {
  return refusal('ERR_CA_NO_AUTHORITY', faults.join(' ') || 'none is active')
}
