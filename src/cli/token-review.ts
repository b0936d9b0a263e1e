/** Asks the Kubernetes API server whether the service-account tokens of callers still count; loaded with the first question. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { refusal } from '#base/result'
import type { OpenReview } from '#config/token-keys'
import type { TokenReviewer } from '#kube/token-review'

export function openTokenReview(clock: Clock): OpenReview {
  return (settings, audiences) => {
    let reviewer: TokenReviewer | undefined
    return async (token) => {
      const { createTokenReviewer, reviewWords } = await import('#kube/token-review')
      reviewer ??= createTokenReviewer(settings, clock)
      try {
        const outcome = await reviewer(token, audiences)
        return typeof outcome === 'string' ? refusal('ERR_TOKEN_REVIEW', reviewWords(outcome)) : undefined
      } catch (error) {
        if (error instanceof PosternError) return refusal('ERR_TOKEN_REVIEW_UNAVAILABLE', `${error.code}: ${reviewWords(error.message)}`)
        throw error
      }
    }
  }
}
