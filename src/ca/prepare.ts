/** Makes the authorities that a rotation begins with: an X.509 one, under a new root or an existing one, and a JWT one. */
import { PosternError } from '#base/errors'
import { type Authority, createAuthority } from '#pki/authority'
import { certificatesPem } from '#pki/pem'
import { readAuthorityPath } from '#pki/signing-authority'
import { makeJwtAuthority } from './adopt.ts'
import type { AuthorityKeys } from './authority-keys.ts'
import type { AuthorityRecord } from './store/store.ts'

export interface PrepareOptions {
  readonly keys: AuthorityKeys
  readonly trustDomain: string
  /** Ms since the epoch. */
  readonly now: number
  /** Ms. */
  readonly rootTtl: number
  readonly intermediateTtl: number
  /** An existing root instead of a new one. */
  readonly root?: Authority
}

export interface Prepared {
  readonly records: readonly AuthorityRecord[]
  /** URI of the key of a root that was made; it is needed for nothing but further intermediates. */
  readonly rootKey: string | undefined
}

/** For peers whose clock is behind, ms. */
const BACKDATE = 60_000

export async function prepareAuthorities(options: PrepareOptions): Promise<Prepared> {
  const { keys, trustDomain, now, rootTtl, intermediateTtl } = options
  const notBefore = now - BACKDATE
  const root = options.root ?? (await createAuthority({ trustDomain, kind: 'root', notBefore, notAfter: now + rootTtl }))
  const issuer = await createAuthority({ trustDomain, kind: 'intermediate', issuer: root, notBefore, notAfter: now + intermediateTtl })
  const above = certificatesPem([...issuer.chain.slice(1), issuer.root])
  const rootKey = options.root === undefined ? keys.add(`root-${root.keyId.slice(0, 16)}-key.pem`, root.keyPem) : undefined
  const x509: AuthorityRecord = {
    id: issuer.keyId,
    kind: 'x509',
    state: 'prepared',
    chain: issuer.certificatePem + above,
    key: keys.add(`intermediate-${issuer.keyId.slice(0, 16)}-key.pem`, issuer.keyPem),
    notAfter: issuer.notAfter,
    changedAt: now,
  }
  return { records: [x509, makeJwtAuthority(keys, { state: 'prepared', notAfter: issuer.notAfter, now })], rootKey }
}

/** How long the active authorities were made for: another is made for as long unless somebody says otherwise. */
export function livesOf(
  records: readonly AuthorityRecord[],
  trustDomain: string,
): { readonly root: number; readonly intermediate: number } {
  const active = records.find(({ kind, state }) => kind === 'x509' && state === 'active')
  if (active === undefined) throw new PosternError('ERR_CA_NO_AUTHORITY', 'No X.509 authority is active.')
  const path = readAuthorityPath(active.chain, trustDomain).map(({ facts }) => facts.certificate)
  const life = (at: number): number => (path.at(at)?.notAfter ?? 0) - (path.at(at)?.notBefore ?? 0) - BACKDATE
  return { root: life(-1), intermediate: life(0) }
}
