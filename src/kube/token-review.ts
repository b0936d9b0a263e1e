/** Asks the API server whether a service-account token is good: unlike its signature, that tells when the pod is gone. */
import type { KubeClient } from './client.ts'

export interface ReviewedToken {
  readonly namespace: string
  readonly serviceAccount: string
  /** `''` where the token is not bound to a pod, or the pod has no node yet. */
  readonly podName: string
  readonly podUid: string
  readonly nodeName: string
}

interface TokenReview {
  readonly status?: {
    readonly authenticated?: boolean
    readonly error?: string
    readonly audiences?: readonly string[]
    readonly user?: { readonly username?: string; readonly extra?: Readonly<Record<string, readonly string[]>> }
  }
}

const REVIEWS = { group: 'authentication.k8s.io', version: 'v1', plural: 'tokenreviews' }
const ACCOUNT = /^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})$/

/**
 * @param audience that the token must be meant for
 * @returns who it is, or in words why it is not good
 * @throws PosternError ERR_KUBE_… when the server cannot be asked
 */
export async function reviewToken(client: KubeClient, token: string, audience: string): Promise<ReviewedToken | string> {
  const { status = {} } = await client.create<TokenReview>(REVIEWS, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, audiences: [audience] },
  })
  if (status.authenticated !== true) return status.error ?? 'the API server does not authenticate it'
  // A server that knows nothing of audiences leaves them out (API reference, TokenReviewStatus).
  if (status.audiences?.includes(audience) !== true) return `it is not meant for ${audience}`
  const account = ACCOUNT.exec(status.user?.username ?? '')
  if (account === null) return 'it is not that of a service account'
  const extra = (name: string): string => status.user?.extra?.[`authentication.kubernetes.io/${name}`]?.[0] ?? ''
  const [, namespace = '', serviceAccount = ''] = account
  return { namespace, serviceAccount, podName: extra('pod-name'), podUid: extra('pod-uid'), nodeName: extra('node-name') }
}
