/** What the operator gives a sidecar for its first words with the authority: the bundle to verify it against, and the token to show. */
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { configurationError, fileProblem, problemsOf } from '#config/problems'
import type { CaIdentityConfig } from '#config/sidecar-config'
import { readBundle, trustDomainNamedIn } from '#pki/bundle'
import { createTrustStore, type TrustStore } from '#pki/trust-store'
import { type CaFault, fault } from './ca-client.ts'

const LARGEST_TOKEN = 64 * 1024
const LARGEST_BUNDLE = 1024 * 1024

/** Read each time: Kubernetes writes a new one long before the old one ends. */
export async function readToken({ attest }: CaIdentityConfig): Promise<string | CaFault> {
  const read = await readBoundedFile(attest.file, LARGEST_TOKEN)
  if (isFault(read)) return fault('ERR_IDENTITY_TOKEN', `The token for the authority cannot be read: ${read.fault}`, { final: true })
  const token = decodeUtf8(read.content)?.trim() ?? ''
  if (token !== '' && /^[\u0021-\u007e]+$/.test(token)) return token
  return fault('ERR_IDENTITY_TOKEN', `\`${attest.file}\` holds no token: it must be one word of printable characters`, { final: true })
}

export interface Anchor {
  readonly trust: TrustStore
  readonly digest: string
}

/** What the authority is verified against before it has been spoken to. @throws ERR_CONFIG_INVALID */
export async function readAnchor({ bundle: path, trustDomain }: CaIdentityConfig): Promise<Anchor> {
  const read = await readBoundedFile(path, LARGEST_BUNDLE)
  if (isFault(read)) throw configurationError([fileProblem(path, 'ERR_CONFIG_FILE', `${read.fault}.`)])
  const text = decodeUtf8(read.content) ?? ''
  const own = trustDomain ?? trustDomainNamedIn(text)
  try {
    if (own !== undefined) return { trust: createTrustStore(own, [readBundle(text, own, path)]), digest: read.digest }
    // Its own faults first.
    readBundle(text, 'trust-domain', path)
  } catch (error) {
    throw configurationError(problemsOf(error, path))
  }
  const message = 'The authority in this bundle names no trust domain; say which it is in `spec.identity.ca.trustDomain`.'
  throw configurationError([fileProblem(path, 'ERR_CONFIG_MISSING_KEY', message)])
}
