/** Asks the authority for a pod's certificate (docs/ca-api.md), over the controller's own SVID, and reads what comes. */
import { X509Certificate } from 'node:crypto'
import type { Identity } from '#config/snapshot'
import type { CaClient } from '#svid-source/ca-client'
import { proofIn } from './check.ts'
import type { Outcome, PodCertificateRequest } from './request.ts'

/** It may be asked again. */
export interface Later {
  readonly type: 'Later'
  /** Ms that it asked to wait; 0 if it did not. */
  readonly retryAfter: number
  readonly message: string
}

/** Of a certificate, ms: what the API server takes at least, and how far from each end the refresh must begin. */
const SHORTEST = 3_600_000
const MARGIN = 600_000
/** s, where the request does not say (API reference). */
const DEFAULT_EXPIRATION = 86_400

export async function askAuthority(client: CaClient, identity: Identity, request: PodCertificateRequest): Promise<Outcome | Later> {
  const { spec, metadata } = request
  const proof = proofIn(spec)
  const body = {
    pod: {
      namespace: metadata.namespace,
      name: spec.podName,
      uid: spec.podUID,
      service_account: spec.serviceAccountName,
      node: spec.nodeName,
    },
    ...(typeof proof === 'string' ? { csr: proof } : { public_key: proof?.publicKey, proof_of_possession: proof?.proof }),
    max_ttl: spec.maxExpirationSeconds ?? DEFAULT_EXPIRATION,
  }
  const reply = await client.post('/v1/x509-svid-for', body, identity)
  if (reply.ok) return read(reply.value)
  const { final, retryAfter, detail } = reply
  return final ? { type: 'Denied', reason: 'RefusedByAuthority', message: detail } : { type: 'Later', retryAfter, message: detail }
}

function read(value: unknown): Outcome | Later {
  const { svid } = value as { readonly svid?: unknown }
  if (!Array.isArray(svid) || !svid.every((one) => typeof one === 'string')) return noSense('it holds no certificates')
  try {
    const leaf = new X509Certificate(svid[0] ?? '')
    const [notBefore, notAfter] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()]
    if (notAfter - notBefore < SHORTEST) {
      const message = 'the authority gave less than an hour, which pods are not given: its `svid.max` is shorter, or its own end is near'
      return { type: 'Failed', reason: 'LifetimeTooShort', message }
    }
    const middle = Math.floor((notBefore + notAfter) / 2000) * 1000
    const beginRefreshAt = Math.min(Math.max(middle, notBefore + MARGIN), notAfter - MARGIN)
    return { type: 'Issued', certificateChain: svid.join(''), notBefore, notAfter, beginRefreshAt }
  } catch (error) {
    return noSense(error instanceof Error ? error.message : String(error))
  }
}

function noSense(why: string): Later {
  return { type: 'Later', retryAfter: 0, message: `the answer of the authority makes no sense: ${why}` }
}
