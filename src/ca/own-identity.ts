/** The CA's own certificate, `spiffe://TD/postern/ca`: signed by itself, renewed at half its life, never handed out. */
import { generateKeyPairSync } from 'node:crypto'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { parseSpiffeId } from '#identity/spiffe-id'
import { spkiOf } from '#pki/keys'
import { certificatesPem } from '#pki/pem'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import { caPath } from './issuance.ts'
import type { X509Issuer } from './issuers.ts'

/** @param ttl ms @throws PosternError ERR_CA_NO_AUTHORITY where the issuer's time is not now */
export function makeOwnIdentity({ authority, template }: X509Issuer, clock: Clock, ttl: number): WorkloadIdentity {
  const id = parseSpiffeId(`spiffe://${authority.trustDomain}${caPath()}`)
  if (!id.ok) throw new TypeError(id.detail)
  const now = clock.now()
  if (now < authority.notBefore || now >= authority.notAfter) {
    const times = `from ${new Date(authority.notBefore).toISOString()} to ${new Date(authority.notAfter).toISOString()}`
    throw new PosternError(
      'ERR_CA_NO_AUTHORITY',
      `The authority ${authority.keyId} is valid ${times}, and by the clock of this host it is ${new Date(now).toISOString()}. Set the clock, or make a new authority: \`postern ca rotate prepare\`.`,
    )
  }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certificate } = template.sign({ id: id.value, spki: spkiOf(privateKey), now, ttl })
  return readWorkloadIdentity({
    certificatePem: certificatesPem([certificate, ...authority.chain]),
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  })
}

/** When to make another: at half of what is left of its life from `now`. @returns ms since the epoch */
export function renewalOf({ facts }: WorkloadIdentity, now: number): number {
  return now + (facts.notAfter - now) / 2
}
