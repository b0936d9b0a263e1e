/**
 * The request with which a workload asks for its SVID: PKCS#10 (RFC 2986) with an empty subject and no attributes, for a P-256 key. One profile of
 * fixed lengths, so that a sidecar need not load a library for it; `csr` makes and reads every other.
 */
import { type KeyObject, sign } from 'node:crypto'
import { PosternError } from '#base/errors'
import { spkiOf } from './keys.ts'
import { formatPem } from './pem.ts'

/** SEQUENCE of 98 octets, version 0, empty subject; the public key and the empty attributes follow. */
const INFO_HEAD = Buffer.from('30620201003000', 'hex')
const NO_ATTRIBUTES = Buffer.from('a000', 'hex')
/** SEQUENCE { ecdsa-with-SHA256 } (RFC 5758 §3.2). */
const ECDSA_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex')
const P256_SPKI_LENGTH = 91

/** @returns PEM. @throws ERR_KEY_WEAK where the key is not P-256 */
export function requestSvid(privateKey: KeyObject): string {
  const spki = spkiOf(privateKey)
  if (spki.length !== P256_SPKI_LENGTH || privateKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw new PosternError('ERR_KEY_WEAK', 'A workload asks for its certificate with a P-256 key.')
  const info = Buffer.concat([INFO_HEAD, spki, NO_ATTRIBUTES])
  const signature = sign('sha256', info, privateKey)
  // An ECDSA signature over P-256 has at most 72 octets: the lengths below need one octet, and two for the whole.
  const bits = Buffer.concat([Buffer.from([0x03, signature.length + 1, 0]), signature])
  const content = Buffer.concat([info, ECDSA_SHA256, bits])
  return formatPem('CERTIFICATE REQUEST', Buffer.concat([Buffer.from([0x30, 0x81, content.length]), content]))
}
