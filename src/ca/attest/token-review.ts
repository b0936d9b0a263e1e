/** TokenReview through the API server, for service-account tokens. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { ok, refusal } from '#base/result'
import type { TokenReviewConfig } from '#config/ca-config'
import { createTokenReviewer, reviewWords } from '#kube/token-review'
import type { ReviewToken } from './service-account-token.ts'

export function createTokenReview(config: TokenReviewConfig, clock: Clock): ReviewToken {
  const review = createTokenReviewer(config, clock)
  return async (token, audience) => {
    try {
      const outcome = await review(token, [audience])
      return typeof outcome === 'string' ? refusal('ERR_CA_TOKEN_REVIEW', reviewWords(outcome)) : ok(outcome)
    } catch (error) {
      if (error instanceof PosternError) return refusal(error.code, error.message)
      throw error
    }
  }
}
