/** TokenReview through the API server, for service-account tokens. */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { ok, refusal } from '#base/result'
import type { TokenReviewConfig } from '#config/ca-config'
import { createKubeClient, type KubeClient } from '#kube/client'
import { reviewToken } from '#kube/token-review'
import type { ReviewToken } from './service-account-token.ts'

/** Looks for the API server with the first token, so that a CA whose files come later starts all the same. */
export function createTokenReview(config: TokenReviewConfig, clock: Clock): ReviewToken {
  let client: Promise<KubeClient> | undefined

  async function connect(): Promise<KubeClient> {
    try {
      const ca = await readFile(config.ca, 'utf8')
      const namespace = await readFile(join(dirname(config.token), 'namespace'), 'utf8').catch(() => 'default')
      const access = { server: config.server, ca, auth: { kind: 'tokenFile' as const, path: config.token }, namespace: namespace.trim() }
      return createKubeClient(access, clock)
    } catch (cause) {
      client = undefined
      throw new PosternError(
        'ERR_KUBE_CONFIG',
        `The API server cannot be asked: ${cause instanceof Error ? cause.message : String(cause)}`,
        {
          cause,
        },
      )
    }
  }

  return async (token, audience) => {
    try {
      const outcome = await reviewToken(await (client ??= connect()), token, audience)
      return typeof outcome === 'string' ? refusal('ERR_CA_TOKEN_REVIEW', outcome.slice(0, 300).replaceAll(/[^ -~]/g, '?')) : ok(outcome)
    } catch (error) {
      if (error instanceof PosternError) return refusal(error.code, error.message)
      throw error
    }
  }
}
