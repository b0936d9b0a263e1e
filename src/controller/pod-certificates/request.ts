/**
 * A PodCertificateRequest (certificates.k8s.io) as a signer reads it: the form of v1, a certificate request, and that of v1beta1 (Kubernetes
 * 1.35, and 1.36 from kubelets before it), a key with a signature over the pod's UID.
 */
import { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { findServed } from '#kube/served'

export interface PodCertificateRequest extends KubeObject {
  readonly spec: {
    readonly signerName: string
    readonly podName: string
    readonly podUID: string
    readonly serviceAccountName: string
    readonly serviceAccountUID: string
    readonly nodeName: string
    readonly nodeUID: string
    /** s; 86400 where nobody said. */
    readonly maxExpirationSeconds?: number
    /** Base64 of DER. */
    readonly stubPKCS10Request?: string | null
    /** v1beta1, both base64. */
    readonly pkixPublicKey?: string
    readonly proofOfPossession?: string
    readonly unverifiedUserAnnotations?: Readonly<Record<string, string>> | null
  }
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

/** What becomes of a request; each is final. */
export type Outcome =
  | {
      readonly type: 'Issued'
      /** PEM, leaf first. */
      readonly certificateChain: string
      /** Ms since the epoch. */
      readonly notBefore: number
      readonly notAfter: number
      readonly beginRefreshAt: number
    }
  | { readonly type: 'Denied' | 'Failed'; readonly reason: string; readonly message: string }

const FINAL = new Set(['Issued', 'Denied', 'Failed'])
const LONGEST_MESSAGE = 1024

export function isPending({ status }: PodCertificateRequest): boolean {
  return status?.conditions?.some(({ type }) => FINAL.has(type)) !== true
}

/**
 * Where to watch: v1beta1 as long as it is served, since only there the older form shows its key; else v1.
 * @throws PosternError ERR_KUBE_… ; ERR_KUBE_NOT_FOUND where the cluster knows no such requests
 */
export async function findRequests(client: KubeClient): Promise<Resource> {
  const found = await findServed(client, { group: 'certificates.k8s.io', plural: 'podcertificaterequests' }, ['v1beta1', 'v1'])
  if (found !== undefined) return found
  throw new PosternError('ERR_KUBE_NOT_FOUND', 'This cluster knows no PodCertificateRequests: they are of Kubernetes 1.35 and later.')
}

/** The status that says it. Times have whole seconds, as those of certificates. */
export function statusOf(outcome: Outcome, now: number, generation: number | undefined): object {
  const { type } = outcome
  const condition = {
    type,
    status: 'True',
    reason: type === 'Issued' ? 'Issued' : outcome.reason,
    message: type === 'Issued' ? '' : outcome.message.slice(0, LONGEST_MESSAGE),
    lastTransitionTime: time(now),
    ...(generation !== undefined && { observedGeneration: generation }),
  }
  if (outcome.type !== 'Issued') return { conditions: [condition] }
  const { certificateChain, notBefore, notAfter, beginRefreshAt } = outcome
  const times = { notBefore: time(notBefore), beginRefreshAt: time(beginRefreshAt), notAfter: time(notAfter) }
  return { conditions: [condition], certificateChain, ...times }
}

function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
