/** Whether a token was signed by a key: the one place where a signature is checked. */
import { compactVerify } from 'jose'
import { refusal, type Refusal } from '#base/result'
import type { CompactToken } from './compact.ts'
import { keyFor, type KeySet, type VerificationKey } from './key-set.ts'

/** @returns the key that signed it, or why none of `keys` did */
export async function verifySignature(token: CompactToken, keys: KeySet): Promise<VerificationKey | Refusal> {
  const found = keyFor(keys, token)
  if ('ok' in found) return found
  try {
    await compactVerify(token.text, found.key, { algorithms: [found.algorithm] })
  } catch {
    // Whatever the reason: a token that was not verified is refused.
    return refusal('ERR_TOKEN_SIGNATURE', `key ${found.kid ?? found.thumbprint}`)
  }
  return found
}
