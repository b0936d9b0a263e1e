/** Asks the Kubernetes API server whether the service-account tokens of callers still count; its client is loaded with the first question. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { refusal } from '#base/result'
import type { OpenReview } from '#config/token-keys'
import type { TokenReviewer } from '#kube/token-review'
import type { Log } from '#telemetry/log'

/** @param log is told when the API server cannot be asked, and when it can again */
export function openTokenReview(clock: Clock, log: Log): OpenReview {
  return (settings, audiences) => {
    const { server } = settings
    let reviewer: TokenReviewer | undefined
    let isFailing = false
    return async (token) => {
      const { createTokenReviewer, reviewWords } = await import('#kube/token-review')
      reviewer ??= createTokenReviewer(settings, clock)
      try {
        const outcome = await reviewer(token, audiences)
        if (isFailing) log.info({ server }, 'the API server answers again whether tokens still count')
        isFailing = false
        return typeof outcome === 'string' ? refusal('ERR_TOKEN_REVIEW', reviewWords(outcome)) : undefined
      } catch (error) {
        if (!(error instanceof PosternError)) throw error
        if (!isFailing) log.error({ err: error, server }, 'the API server cannot be asked whether tokens still count')
        isFailing = true
        return refusal('ERR_TOKEN_REVIEW_UNAVAILABLE', `${error.code}: ${reviewWords(error.message)}`)
      }
    }
  }
}
