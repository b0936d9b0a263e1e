/** Asks the API server whether a service-account token is good: unlike its signature, that tells when the pod is gone. */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { createKubeClient, type KubeClient } from './client.ts'

export interface ReviewedToken {
  readonly namespace: string
  readonly serviceAccount: string
  /** `''` where the token is not bound to a pod, or the pod has no node yet. */
  readonly podName: string
  readonly podUid: string
  readonly nodeName: string
}

interface TokenReview {
  readonly status?: null | {
    readonly authenticated?: boolean
    readonly error?: string
    readonly audiences?: readonly string[]
    readonly user?: { readonly username?: string; readonly extra?: Readonly<Record<string, readonly string[]>> }
  }
}

const REVIEWS = { group: 'authentication.k8s.io', version: 'v1', plural: 'tokenreviews' }
const ACCOUNT = /^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})$/

/**
 * @param audiences of which the token must be meant for one
 * @returns who it is, or in words why it is not good
 * @throws PosternError ERR_KUBE_… when the server cannot be asked
 */
export async function reviewToken(client: KubeClient, token: string, audiences: readonly string[]): Promise<ReviewedToken | string> {
  const review = await client.create<TokenReview>(REVIEWS, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, audiences },
  })
  const status = review.status ?? {}
  if (status.authenticated !== true) return status.error ?? 'the API server does not authenticate it'
  // A server that knows nothing of audiences leaves them out (API reference, TokenReviewStatus).
  const accepted = Array.isArray(status.audiences) && audiences.some((audience) => status.audiences?.includes(audience))
  if (!accepted) return `it is not meant for ${audiences.join(' or ')}`
  const account = ACCOUNT.exec(status.user?.username ?? '')
  if (account === null) return 'it is not that of a service account'
  const extra = (name: string): string => status.user?.extra?.[`authentication.kubernetes.io/${name}`]?.[0] ?? ''
  const [, namespace = '', serviceAccount = ''] = account
  return { namespace, serviceAccount, podName: extra('pod-name'), podUid: extra('pod-uid'), nodeName: extra('node-name') }
}

export interface TokenReviewerOptions {
  readonly server: string
  /** A file with the token to call it with; read again when it changes. */
  readonly token: string
  /** A file of PEM. */
  readonly ca: string
}

/** Who it is, or in words why it is not good. @throws PosternError ERR_KUBE_… when the server cannot be asked */
export type TokenReviewer = (token: string, audiences: readonly string[]) => Promise<ReviewedToken | string>

/** Looks for the API server with the first token, so that whoever asks may start before the files are there. */
export function createTokenReviewer({ server, token: path, ca: caFile }: TokenReviewerOptions, clock: Clock): TokenReviewer {
  let client: Promise<KubeClient> | undefined

  async function connect(): Promise<KubeClient> {
    try {
      const ca = await readFile(caFile, 'utf8')
      const namespace = await readFile(join(dirname(path), 'namespace'), 'utf8').catch(() => 'default')
      return createKubeClient({ server, ca, auth: { kind: 'tokenFile', path }, namespace: namespace.trim() }, clock)
    } catch (cause) {
      client = undefined
      const what = cause instanceof Error ? cause.message : String(cause)
      throw new PosternError('ERR_KUBE_CONFIG', `The API server cannot be asked: ${what}`, { cause })
    }
  }

  return async (token, audiences) => reviewToken(await (client ??= connect()), token, audiences)
}

/** What the API server said of a token, fit for records. */
export function reviewWords(words: string): string {
  return words.slice(0, 300).replaceAll(/[^ -~]/g, '?')
}
