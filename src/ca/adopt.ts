/** The first authorities of a store: an X.509 one from its files, and a JWT one that is made beside it. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKeyPairSync } from 'node:crypto'
import { PosternError } from '#base/errors'
import { keyIdentifier } from '#pki/keys'
import { loadSigningAuthority } from '#pki/signing-authority'
import type { AuthorityKeys } from './authority-keys.ts'
import type { AuthorityRecord, Store } from './store/store.ts'

/** What `certs init` and `ca init` write, in the folder of the keys. */
const FILES = { key: 'intermediate-key.pem', certificate: 'intermediate.pem', root: 'root.pem' }

export interface AdoptOptions {
  readonly store: Pick<Store, 'trust' | 'changeAuthorities'>
  readonly keys: AuthorityKeys
  readonly trustDomain: string
  /** Where its files are: a folder that need not be written to. Default: that of the keys. */
  readonly folder?: string | undefined
  /** Ms since the epoch. */
  readonly now: number
}

/**
 * Takes over the authority in the folder if the store has none yet.
 * @returns the id of what was taken over; undefined if there was an authority already
 * @throws ERR_AUTHORITY_UNUSABLE, ERR_CA_NO_AUTHORITY, ERR_CA_STORE…
 */
export async function adoptAuthority({ store, keys, trustDomain, folder = keys.folder, now }: AdoptOptions): Promise<string | undefined> {
  const { authorities, sequence } = await store.trust()
  if (authorities.length > 0) return undefined
  const missing = Object.values(FILES).filter((name) => !existsSync(join(folder, name)))
  if (missing.length > 0) {
    throw new PosternError(
      'ERR_CA_NO_AUTHORITY',
      `The store holds no authority, and ${folder} has no ${missing.join(', no ')}. \`postern ca init DIR --trust-domain ${trustDomain}\` makes an authority; put its files there.`,
    )
  }
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8')
  const key = folder === keys.folder ? `file:${FILES.key}` : keys.add(FILES.key, text(FILES.key))
  const chain = `${text(FILES.certificate).trimEnd()}\n${text(FILES.root)}`
  const { keyId, notAfter } = loadSigningAuthority({ certificatesPem: chain, trustDomain, keyPem: keys.read(key) })
  const x509: AuthorityRecord = { id: keyId, kind: 'x509', state: 'active', chain, key, notAfter, changedAt: now }
  const jwt = makeJwtAuthority(keys, { state: 'active', notAfter, now })
  const changed = await store.changeAuthorities(sequence, [x509, jwt])
  // Another replica was quicker: what it took over is what holds, and our JWT key is nobody's.
  if (changed === undefined) keys.remove(jwt.key)
  return changed === undefined ? undefined : keyId
}

/** A new P-256 key for JWT-SVIDs, written to the folder. */
export function makeJwtAuthority(
  keys: AuthorityKeys,
  { state, notAfter, now }: { readonly state: AuthorityRecord['state']; readonly notAfter: number; readonly now: number },
): AuthorityRecord {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const id = keyIdentifier(publicKey)
  const { kty, crv, x, y } = publicKey.export({ format: 'jwk' })
  return {
    id,
    kind: 'jwt',
    state,
    chain: JSON.stringify({ kty, crv, x, y, kid: id, alg: 'ES256' }),
    key: keys.add(`jwt-${id.slice(0, 16)}-key.pem`, privateKey.export({ type: 'pkcs8', format: 'pem' })),
    notAfter,
    changedAt: now,
  }
}
