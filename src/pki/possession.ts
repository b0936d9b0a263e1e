/**
 * A public key, and the proof that whoever sent it holds its private one: a signature over the pod's UID, as the kubelet of Kubernetes 1.35 and
 * 1.36 makes it (PodCertificateRequest v1beta1, `pkixPublicKey` and `proofOfPossession`). Later ones send a certificate request.
 */
import { constants, type KeyObject, verify } from 'node:crypto'
import { ok, refusal, type Result } from '#base/result'
import { finish, isMalformed, openDer, readElement, TAG } from './der.ts'
import { readPublicKey } from './svid-request.ts'

export interface Possession {
  /** Base64 of the DER of a SubjectPublicKeyInfo. */
  readonly publicKey: string
  /** Base64: ECDSA or RSA-PSS with SHA-256, or Ed25519. */
  readonly proof: string
  /** What was signed, as ASCII. */
  readonly message: string
}

const LONGEST_KEY = 4096
const LONGEST_PROOF = 2048

/** DER of the key. Refused with ERR_CSR_UNREADABLE, ERR_KEY_WEAK, ERR_CSR_SIGNATURE. */
export function checkPossession({ publicKey, proof, message }: Possession): Result<Buffer> {
  if (publicKey.length > LONGEST_KEY || proof.length > LONGEST_PROOF) return refusal('ERR_CSR_UNREADABLE', 'it is too large')
  const spki = Buffer.from(publicKey, 'base64')
  const cursor = openDer(spki)
  readElement(cursor, TAG.sequence)
  finish(cursor)
  if (isMalformed(cursor)) return refusal('ERR_CSR_UNREADABLE', 'its public key is not DER')
  const key = readPublicKey(spki)
  if (!key.ok) return key
  return isSigned(key.value, Buffer.from(message, 'latin1'), Buffer.from(proof, 'base64')) ? ok(spki) : refusal('ERR_CSR_SIGNATURE')
}

function isSigned(key: KeyObject, message: Buffer, signature: Buffer): boolean {
  try {
    if (key.asymmetricKeyType === 'ed25519') return verify(null, message, key, signature)
    if (key.asymmetricKeyType === 'ec') return verify('sha256', message, key, signature)
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
    return key.asymmetricKeyType === 'rsa' && verify('sha256', message, { key, ...padding }, signature)
  } catch {
    return false
  }
}
