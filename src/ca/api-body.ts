/** Bodies of the API's requests, from JSON to typed values. What is refused is refused with ERR_CA_REQUEST and what is wrong. */
import { ok, refusal, type Result } from '#base/result'
import type { Possession } from '#pki/possession'
import { ATTESTATION_TYPES, type AttestationType, LONGEST_TOKEN } from './attest/attestor.ts'
import type { VouchedPod } from './attest/pod-certificate.ts'

export interface X509Body {
  /** Undefined: a renewal. */
  readonly attestation: { readonly type: AttestationType; readonly token: string } | undefined
  readonly csr: string
  /** Ms asked for. */
  readonly ttl: number | undefined
}

export interface TrustBody {
  readonly sequence: number
  readonly instance: string
}

export interface PodBody {
  readonly pod: VouchedPod
  /** A certificate request, or a key with another proof. */
  readonly request: string | Possession
  /** Ms: what the certificate may last at most, from its beginning to its end. */
  readonly longest: number
}

/** Of names and UIDs in Kubernetes. */
const KUBE_NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/

const MOST_AUDIENCES = 16
const LONGEST_AUDIENCE = 2048
const INSTANCE = /^[\w.:/-]{1,128}$/

export function readX509Body(body: Buffer): Result<X509Body> {
  const object = readObject(body)
  if (!object.ok) return object
  const { attestation, csr, ttl } = object.value
  if (typeof csr !== 'string' || csr === '') return wrong('`csr` is not a certificate request as PEM or base64')
  if (ttl !== undefined && !(typeof ttl === 'number' && Number.isSafeInteger(ttl) && ttl > 0))
    return wrong('`ttl` is not a number of seconds')
  const common = { csr, ttl: ttl === undefined ? undefined : ttl * 1000 }
  if (attestation === undefined || attestation === null) return ok({ ...common, attestation: undefined })
  if (!isObject(attestation)) return wrong('`attestation` is not an object')
  const type = ATTESTATION_TYPES.find((known) => known === attestation['type'])
  if (type === undefined) return wrong(`\`attestation.type\` is none of ${ATTESTATION_TYPES.join(', ')}`)
  const { token } = attestation
  if (typeof token !== 'string' || token.trim() === '') return wrong('`attestation.token` is not a text')
  if (token.length > LONGEST_TOKEN) return wrong(`\`attestation.token\` is longer than ${LONGEST_TOKEN} characters`)
  return ok({ ...common, attestation: { type, token: token.trim() } })
}

export function readPodBody(body: Buffer): Result<PodBody> {
  const object = readObject(body)
  if (!object.ok) return object
  const { pod, csr, public_key: publicKey, proof_of_possession: proof, max_ttl: longest } = object.value
  if (!isObject(pod)) return wrong('`pod` is not an object')
  const { namespace, name, uid, service_account: serviceAccount, node } = pod
  if (!isKubeName(namespace) || !isKubeName(name) || !isKubeName(uid) || !isKubeName(serviceAccount) || !isKubeName(node))
    return wrong('`pod` needs `namespace`, `name`, `uid`, `service_account` and `node`, each a name of Kubernetes')
  if (typeof longest !== 'number' || !Number.isSafeInteger(longest) || longest < 3600)
    return wrong('`max_ttl` is not a number of seconds, at least 3600')
  const common = { pod: { namespace, pod: name, podUid: uid, serviceAccount, node }, longest: longest * 1000 }
  if (typeof csr === 'string' && csr !== '' && publicKey === undefined && proof === undefined) return ok({ ...common, request: csr })
  if (csr === undefined && typeof publicKey === 'string' && typeof proof === 'string')
    return ok({ ...common, request: { publicKey, proof, message: uid } })
  return wrong('give either `csr`, or `public_key` and `proof_of_possession`')
}

function isKubeName(value: unknown): value is string {
  return typeof value === 'string' && KUBE_NAME.test(value)
}

/** @returns the audiences, each once */
export function readJwtBody(body: Buffer): Result<readonly string[]> {
  const object = readObject(body)
  if (!object.ok) return object
  const { audience } = object.value
  const list: readonly unknown[] = Array.isArray(audience) ? audience : []
  if (list.length === 0 || list.length > MOST_AUDIENCES) return wrong(`\`audience\` is not a list of 1 to ${MOST_AUDIENCES} texts`)
  const audiences = list.filter((each) => typeof each === 'string' && each !== '' && each.length <= LONGEST_AUDIENCE) as string[]
  if (audiences.length < list.length) return wrong(`\`audience\` holds what is no text of 1 to ${LONGEST_AUDIENCE} characters`)
  return ok([...new Set(audiences)])
}

export function readTrustBody(body: Buffer): Result<TrustBody> {
  const object = readObject(body)
  if (!object.ok) return object
  const { sequence, instance } = object.value
  if (typeof sequence !== 'number' || !Number.isSafeInteger(sequence) || sequence < 0) return wrong('`sequence` is not a whole number')
  if (typeof instance !== 'string' || !INSTANCE.test(instance)) {
    return wrong('`instance` is not a name of up to 128 letters, digits and `. _ : / -`')
  }
  return ok({ sequence, instance })
}

function readObject(body: Buffer): Result<Readonly<Record<string, unknown>>> {
  try {
    const value: unknown = JSON.parse(UTF8.decode(body))
    if (isObject(value)) return ok(value)
  } catch {
    return wrong('the body is not JSON in UTF-8')
  }
  return wrong('the body is not a JSON object')
}

const UTF8 = new TextDecoder('utf-8', { fatal: true })

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function wrong(detail: string): Result<never> {
  return refusal('ERR_CA_REQUEST', detail)
}
