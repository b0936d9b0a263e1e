/** From `spec.tokens` to what verifies tokens. Its libraries are loaded only where there are issuers. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { Log } from '#telemetry/log'
import type { ReviewRules } from '#token/reviews'
import type { IssuerOptions, KeyStatus, TokenVerifier } from '#token/verifier'
import type { TokenIssuerConfig, TokenReviewSettings } from './sidecar-config.ts'
import type { InputStatus } from './snapshot.ts'

export interface TokenKeysOptions {
  /** Whose service accounts those of an issuer of kind serviceAccount are, unless it says. */
  readonly trustDomain: string
  readonly clock: Clock
  readonly log: Log
  /** [0, 1) */
  readonly random: () => number
  /** Wait for keys that are fetched too, as far as they can be had: requests that live are judged by them. */
  readonly all?: boolean
  readonly openReview: OpenReview | undefined
  /** The verifier before this one. */
  readonly before?: TokenVerifier | undefined
}

/** Makes what asks an API server about tokens; where it cannot be had is for the answers to say. */
export type OpenReview = (settings: TokenReviewSettings, audiences: readonly string[]) => ReviewRules['ask']

/**
 * Waits for keys in files, which are there or never will be; keys that are fetched are waited for by the first token.
 * @throws ERR_CONFIG_FILE if a file gives no keys
 */
export async function openTokenKeys(
  issuers: readonly TokenIssuerConfig[],
  { trustDomain, clock, log, random, all = false, openReview, before }: TokenKeysOptions,
): Promise<TokenVerifier | undefined> {
  if (issuers.length === 0) return undefined
  const [{ createTokenVerifier }, origins] = await Promise.all([import('#token/verifier'), import('#token/key-origin')])
  const verifier = createTokenVerifier({
    issuers: issuers.map((issuer): IssuerOptions => {
      const { jwks, review, ...rules } = issuer
      if (review !== undefined && openReview === undefined) throw new TypeError('nothing was given to review tokens with')
      const fetching = { caFile: jwks.ca, tokenFile: jwks.tokenFile }
      const origin =
        jwks.file !== undefined
          ? origins.fileOrigin(jwks.file)
          : jwks.url !== undefined
            ? origins.urlOrigin(jwks.url, jwks.refresh, fetching)
            : origins.discoveryOrigin(issuer.issuer, jwks.refresh, fetching)
      const ours = issuer.kind === 'serviceAccount' ? trustDomain : undefined
      const asked = review && openReview && { ...review, ask: openReview(review, issuer.audiences) }
      return { ...rules, trustDomain: issuer.trustDomain ?? ours, origin, keep: jwks.keep, review: asked }
    }),
    clock,
    random,
    reviewed: before?.reviewed,
    onOutcome(issuer, failure) {
      if (failure === undefined) log.info({ issuer }, 'the keys of the issuer can be had again')
      else log.error({ issuer, reason: failure.reason, detail: failure.detail }, 'there are no new keys of the issuer')
    },
  })
  await (all ? verifier.reload() : verifier.start())
  const missing = verifier.status().find(({ isLocal, failure }) => isLocal && failure !== undefined)
  if (missing === undefined) return verifier
  verifier.close()
  throw new PosternError(
    'ERR_CONFIG_FILE',
    `The keys of \`${missing.issuer}\` cannot be used: ${missing.failure?.reason}, ${missing.failure?.detail}.`,
  )
}

/** Keys that cannot be had are an input whose last good version is in force. */
export function tokenKeyStatus({ issuer, origin, failure, failedAt, changedAt, digest }: KeyStatus): InputStatus {
  const error = failure === undefined ? undefined : `the keys of ${issuer}: ${failure.reason}, ${failure.detail}`
  return { input: origin, kind: 'keys', digest, appliedAt: changedAt, error, failedAt }
}
