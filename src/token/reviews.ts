/**
 * Whether verified tokens still count, as a third party says (Kubernetes' TokenReview): it is asked again and again, and each answer counts
 * for a short time. Those in use are asked about in the background, so that their requests need not wait.
 */
import { type Refusal, refusal } from '#base/result'

export interface ReviewRules {
  /** Ms after which an answer is asked for again. Sensible from 1,000. */
  readonly refresh: number
  /** Ms for which the last good answer counts while there is none. */
  readonly keep: number
  /** Undefined: it counts. Never rejects. ERR_TOKEN_REVIEW_UNAVAILABLE: there was no answer. */
  readonly ask: (token: string) => Promise<Refusal | undefined>
}

/** What is known of one token. */
export interface ReviewedToken {
  readonly text: string
  readonly rules: ReviewRules
  /** Ms since the epoch of the last answer that it counts, and of the last answer at all, or that there was none. */
  goodAt: number
  askedAt: number
  /** The last answer, where it was not that the token counts. */
  refused: Refusal | undefined
  asking: Promise<void> | undefined
}

export interface TokenReviews {
  /** At once where an answer is known that may count; else asks first. */
  judge(token: ReviewedToken, now: number): Refusal | undefined | Promise<Refusal | undefined>
  /** For what lives under the token: never waits. */
  glance(token: ReviewedToken, now: number): Refusal | undefined
  /** When to look again at what lives under it. */
  dueAt(token: ReviewedToken, now: number): number
}

/** Questions under way at once, and requests that may wait for their turn. */
const MOST_ASKING = 32
const MOST_WAITING = 1000
/** Ms between two questions about one token that nobody answers. */
const RETRY = 1000

export function reviewedToken(text: string, rules: ReviewRules): ReviewedToken {
  // A copy: a slice would keep alive the whole head that it was cut from.
  const own = Buffer.from(text, 'latin1').toString('latin1')
  return { text: own, rules, goodAt: -Infinity, askedAt: -Infinity, refused: undefined, asking: undefined }
}

/** @param now the wall clock, ms since the epoch */
export function createTokenReviews(now: () => number): TokenReviews {
  let asking = 0
  const waiting: (() => void)[] = []

  async function ask(token: ReviewedToken): Promise<void> {
    if (asking >= MOST_ASKING) await new Promise<void>((resolve) => void waiting.push(resolve))
    asking++
    const refused = await token.rules.ask(token.text)
    asking--
    waiting.shift()?.()
    token.asking = undefined
    token.askedAt = now()
    token.refused = refused
    if (refused === undefined) token.goodAt = token.askedAt
  }

  /** One question at a time about a token, for however many requests. Undefined where too many wait already. */
  function begin(token: ReviewedToken): Promise<void> | undefined {
    if (token.asking === undefined && waiting.length < MOST_WAITING) token.asking = ask(token)
    return token.asking
  }

  /** By the answers so far. */
  function verdict(token: ReviewedToken, at: number): Refusal | undefined {
    const { refused, goodAt, rules } = token
    if (refused?.reason !== 'ERR_TOKEN_REVIEW_UNAVAILABLE') return refused
    return isWithin(at, goodAt, rules.keep) ? undefined : refused
  }

  return {
    judge(token, at) {
      const { refresh } = token.rules
      const isFailing = token.refused?.reason === 'ERR_TOKEN_REVIEW_UNAVAILABLE'
      if (isWithin(at, token.askedAt, isFailing ? Math.min(RETRY, refresh) : refresh)) return verdict(token, at)
      const asked = begin(token)
      // While nobody answers, whoever may go on by the last good answer does not wait for another.
      const mayGoOn = isFailing ? verdict(token, at) === undefined : token.refused === undefined && isWithin(at, token.goodAt, 2 * refresh)
      if (mayGoOn) return undefined
      return asked === undefined
        ? refusal('ERR_TOKEN_BUSY', 'too many tokens wait for their review')
        : asked.then(() => verdict(token, now()))
    },
    glance(token, at) {
      const { refresh, keep } = token.rules
      const isFailing = token.refused?.reason === 'ERR_TOKEN_REVIEW_UNAVAILABLE'
      if (isWithin(at, token.askedAt, isFailing ? Math.min(RETRY, refresh) : refresh)) return verdict(token, at)
      if (begin(token) === undefined && !isWithin(at, token.goodAt, keep))
        return refusal('ERR_TOKEN_BUSY', 'too many tokens wait for their review')
      return verdict(token, at)
    },
    dueAt: ({ askedAt, rules, refused }, at) => (refused === undefined ? Math.max(askedAt + rules.refresh, at + RETRY) : at + RETRY),
  }
}

/** A clock that was set back makes answers of later times worthless. */
function isWithin(at: number, since: number, span: number): boolean {
  return at >= since && at - since < span
}
