/** Authorities of the store as what signs with them: X.509 ones with their prepared DER, JWT ones with their key. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { PosternError } from '#base/errors'
import { loadSigningAuthority, type SigningAuthority } from '#pki/signing-authority'
import { createSvidTemplate, type SvidTemplate } from '#pki/svid-template'
import type { AuthorityKeys } from './authority-keys.ts'
import type { AuthorityRecord } from './store/store.ts'

export interface X509Issuer {
  readonly record: AuthorityRecord
  readonly authority: SigningAuthority
  readonly template: SvidTemplate
  /** PEM of the intermediates that follow a leaf. */
  readonly chainPem: readonly string[]
}

export interface JwtIssuer {
  readonly record: AuthorityRecord
  readonly privateKey: KeyObject
}

export interface IssuerCache {
  /** @throws ERR_AUTHORITY_UNUSABLE, ERR_KEY_UNREADABLE */
  x509(record: AuthorityRecord): X509Issuer
  jwt(record: AuthorityRecord): JwtIssuer
}

/** Loads each authority once: its content never changes, only its state does. */
export function createIssuerCache(keys: AuthorityKeys, trustDomain: string): IssuerCache {
  const x509 = new Map<string, X509Issuer>()
  const jwt = new Map<string, JwtIssuer>()
  return {
    x509(record) {
      const known = x509.get(record.id)
      if (known !== undefined) return { ...known, record }
      const authority = loadSigningAuthority({ certificatesPem: record.chain, trustDomain, keyPem: keys.read(record.key) })
      const chainPem = record.chain.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? []
      const issuer = { record, authority, template: createSvidTemplate(authority), chainPem: chainPem.slice(0, authority.chain.length) }
      x509.set(record.id, issuer)
      return issuer
    },
    jwt(record) {
      const known = jwt.get(record.id)
      if (known !== undefined) return { ...known, record }
      const issuer = { record, privateKey: readJwtKey(record, keys) }
      jwt.set(record.id, issuer)
      return issuer
    },
  }
}

function readJwtKey(record: AuthorityRecord, keys: AuthorityKeys): KeyObject {
  const privateKey = createPrivateKey(keys.read(record.key))
  const { x, y } = createPublicKey(privateKey).export({ format: 'jwk' })
  const published = jwkOf(record)
  if (published['x'] === x && published['y'] === y) return privateKey
  throw new PosternError(
    'ERR_AUTHORITY_UNUSABLE',
    `The JWT authority ${record.id} cannot be used: its key is not the one that is published.`,
  )
}

/** The public JWK of a JWT authority. */
export function jwkOf({ chain }: AuthorityRecord): Readonly<Record<string, unknown>> {
  return JSON.parse(chain) as Readonly<Record<string, unknown>>
}
