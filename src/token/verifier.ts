/**
 * Recognises bearer tokens for the request path: what was verified before is known at once, by the hash of the whole token; what is new is
 * verified with the keys of its issuer, fetched if need be. When keys go, what they verified goes with them.
 */
import { hash } from 'node:crypto'
import { createBoundedCache } from '#base/bounded-cache'
import type { Clock } from '#base/clock'
import type { ReasonCode } from '#base/reasons'
import { ok, type Refusal, refusal, type Result } from '#base/result'
import type { TokenPrincipal } from '#identity/peer'
import { createIssuerKeys, type IssuerKeys } from './issuer-keys.ts'
import type { KeyOrigin } from './key-origin.ts'
import { keyFor } from './key-set.ts'
import { peekIssuer } from './peek.ts'
import { createTokenReviews, type ReviewedToken, reviewedToken, type ReviewRules } from './reviews.ts'
import { verifySignature } from './signature.ts'
import { describeIssuer, isOfIssuer, judgeClaims, readToken, type TokenRules, type UnverifiedToken } from './verify.ts'

export interface IssuerOptions extends TokenRules {
  readonly origin: KeyOrigin
  /** Ms for which the last good keys are used without new ones. */
  readonly keep: number
  /** A verified token is passed on to the app. */
  readonly forwardToken: boolean
  /** Asks a third party whether a verified token still counts (Kubernetes' TokenReview). */
  readonly review?: ReviewRules | undefined
}

export interface TokenVerifierOptions {
  readonly issuers: readonly IssuerOptions[]
  readonly clock: Clock
  readonly random: () => number
  /** `reviewed` of the verifier before this one, whose principals may live on. */
  readonly reviewed?: WeakMap<TokenPrincipal, ReviewedToken> | undefined
  /** An issuer's keys cannot be had, or can again. */
  readonly onOutcome?: (issuer: string, failure: Refusal | undefined) => void
}

/** How the keys of one issuer stand. */
export interface KeyStatus {
  readonly issuer: string
  readonly origin: string
  /** The keys come from a file. */
  readonly isLocal: boolean
  readonly keys: number
  readonly failure: Refusal | undefined
  readonly failedAt: number | undefined
  readonly changedAt: number | undefined
  /** Of the keys in force; undefined where there are none. */
  readonly digest: string | undefined
}

export interface TokenVerifier {
  /** SHA-256 (hex) over all keys in force. */
  readonly digest: string
  /**
   * @param now ms since the epoch
   * @param pass what no configured issuer claims to have issued is not refused, but nobody's: undefined
   * @returns at once for what was verified before, and for most of what is refused
   */
  verify(token: string, now: number, pass: boolean): Result<TokenPrincipal> | undefined | Promise<Result<TokenPrincipal>>
  /** Why what `verify` returned, here or of a verifier before this one, is not good any more; undefined if it is. */
  judge(principal: TokenPrincipal, now: number): ReasonCode | undefined
  forwards(principal: TokenPrincipal): boolean
  /** When to ask `judge` again, ms since the epoch. */
  judgeAgainAt(principal: TokenPrincipal, now: number): number
  /** What is known of the tokens of principals that are reviewed. */
  readonly reviewed: WeakMap<TokenPrincipal, ReviewedToken>
  /** Calls `listener` after keys have come or gone, in the same turn. Returns what ends that. */
  subscribe(listener: () => void): () => void
  /** Looks at all origins. Resolves when those on this host were looked at: what is fetched, the first token that needs it waits for. */
  start(): Promise<void>
  /** Looks at all origins now. */
  reload(): Promise<void>
  status(): readonly KeyStatus[]
  close(): void
}

/** Verified tokens that are remembered. */
const CACHED = 10_000
/** Requests that wait for keys at once, of one issuer. */
const MOST_WAITING = 1000
const TICK = 1000

interface Issuer extends IssuerOptions {
  readonly keys: IssuerKeys
  waiting: number
}

interface Verified {
  readonly result: Result<TokenPrincipal>
  readonly issuer: Issuer
  readonly thumbprint: string
  /** Undefined where the issuer's tokens are not reviewed. */
  readonly review: ReviewedToken | undefined
}

/** Looks for keys from `start` on. Keeps no process alive. */
export function createTokenVerifier(given: TokenVerifierOptions): TokenVerifier {
  const { issuers: options, clock, random, onOutcome, reviewed = new WeakMap<TokenPrincipal, ReviewedToken>() } = given
  const cache = createBoundedCache<string, Verified>(CACHED)
  const reviews = createTokenReviews(() => clock.now())
  const listeners = new Set<() => void>()
  const issuers = options.map((issuer): Issuer => {
    const keys = createIssuerKeys({
      origin: issuer.origin,
      jwtSvid: issuer.kind === 'jwtSvid',
      keep: issuer.keep,
      clock,
      random,
      onChange: keysChanged,
      onOutcome: (failure) => onOutcome?.(issuer.issuer, failure),
    })
    return { ...issuer, keys, waiting: 0 }
  })
  const timer = setInterval(() => {
    const now = clock.now()
    for (const { keys } of issuers) keys.tick(now)
  }, TICK).unref()

  function keysChanged(): void {
    cache.deleteWhere(({ issuer, thumbprint }) => !holds(issuer, thumbprint))
    for (const listener of listeners) listener()
  }

  /** Also of tokens that were refused by review: who presents one again and again makes one question of it in a while. */
  function reviewKnown({ result, review }: Verified, now: number): Result<TokenPrincipal> | Promise<Result<TokenPrincipal>> {
    if (review === undefined) return result
    const refused = reviews.judge(review, now)
    return refused instanceof Promise ? refused.then((late) => late ?? result) : (refused ?? result)
  }

  async function verifyNew(text: string, id: string, token: UnverifiedToken, issuer: Issuer): Promise<Result<TokenPrincipal>> {
    const missing = await waitForKey(token, issuer)
    if (missing !== undefined) return missing
    const set = issuer.keys.current
    if (set === undefined) return unavailable(issuer)
    const key = await verifySignature(token.compact, set)
    if ('ok' in key) return key
    // Time has passed, and keys may have gone meanwhile.
    const now = clock.now()
    const result = judgeClaims(token, issuer, now)
    if (!result.ok) return result
    if (!holds(issuer, key.thumbprint)) return refusal('ERR_TOKEN_KEY_WITHDRAWN')
    const principal: TokenPrincipal = Object.freeze({ ...result.value, verifiedBy: key.thumbprint })
    const review = issuer.review && reviewedToken(text, issuer.review)
    if (review !== undefined) reviewed.set(principal, review)
    const entry: Verified = { result: ok(principal), issuer, thumbprint: key.thumbprint, review }
    cache.set(id, entry, result.value.expiresAt)
    return reviewKnown(entry, now)
  }

  return {
    get digest() {
      return hash('sha256', issuers.map(({ issuer, keys }) => `${issuer} ${digestOf(keys)}`).join('\n'))
    },
    verify(text, now, pass) {
      const id = hash('sha256', text, 'latin1')
      const known = cache.get(id, now)
      if (known !== undefined) return reviewKnown(known, now)
      const token = readToken(text)
      if (!token.ok) return pass && !isClaimed(text) ? undefined : token
      const issuer = issuers.find((candidate) => isOfIssuer(token.value, candidate))
      if (issuer === undefined)
        return pass && !isClaimed(text) ? undefined : refusal('ERR_TOKEN_ISSUER_UNKNOWN', describeIssuer(token.value))
      const judged = judgeClaims(token.value, issuer, now)
      return judged.ok ? verifyNew(text, id, token.value, issuer) : judged
    },
    judge(principal, now) {
      if (now >= principal.expiresAt) return 'ERR_TOKEN_EXPIRED'
      const issuer = issuerOf(principal)
      if (issuer === undefined || !holds(issuer, principal.verifiedBy)) return 'ERR_TOKEN_KEY_WITHDRAWN'
      // Issuers may be configured anew while requests run.
      if (!principal.audiences.some((audience) => issuer.audiences.includes(audience))) return 'ERR_TOKEN_AUDIENCE'
      if (issuer.kind !== 'oidc' && issuer.trustDomain !== principal.trustDomain) return 'ERR_TOKEN_SUBJECT'
      if (issuer.review === undefined) return undefined
      const review = reviewed.get(principal)
      // Admitted when its issuer's tokens were not reviewed yet: of it nobody can be asked.
      return review === undefined ? 'ERR_TOKEN_REVIEW' : reviews.glance(review, now)?.reason
    },
    forwards: (principal) => issuerOf(principal)?.forwardToken === true,
    judgeAgainAt(principal, now) {
      const review = reviewed.get(principal)
      return review === undefined ? principal.expiresAt : Math.min(principal.expiresAt, reviews.dueAt(review, now))
    },
    reviewed,
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async start() {
      const looks = issuers.map(({ origin, keys }) => ({ isLocal: origin.isLocal, look: keys.look() }))
      await Promise.all(looks.filter(({ isLocal }) => isLocal).map(({ look }) => look))
    },
    async reload() {
      await Promise.all(issuers.map(({ keys }) => keys.look()))
    },
    status: () => issuers.map(statusOf),
    close() {
      clearInterval(timer)
      listeners.clear()
      for (const { keys } of issuers) keys.close()
    },
  }

  function issuerOf(principal: TokenPrincipal): Issuer | undefined {
    return issuers.find(({ issuer }) => issuer === principal.issuer)
  }

  /** What a verifier more lenient than ours might take for a token of a configured issuer is never left to the app. */
  function isClaimed(text: string): boolean {
    const claimed = peekIssuer(text)
    return issuers.some(({ issuer }) => issuer === claimed.issuer || claimed.subject?.startsWith(`${issuer}/`) === true)
  }
}

/** Waits until the key that the token names is there, if looking for it may help. @returns why there is none */
async function waitForKey({ compact }: UnverifiedToken, issuer: Issuer): Promise<Refusal | undefined> {
  const find = (): Refusal | undefined => {
    const set = issuer.keys.current
    if (set === undefined) return unavailable(issuer)
    const found = keyFor(set, compact)
    return 'ok' in found ? found : undefined
  }
  const missing = find()
  const mayHelp =
    missing?.reason === 'ERR_TOKEN_KEYS_UNAVAILABLE' || (missing?.reason === 'ERR_TOKEN_KEY_UNKNOWN' && compact.kid !== undefined)
  if (!mayHelp) return missing
  const look = issuer.keys.seek()
  if (look === undefined) return missing
  if (issuer.waiting >= MOST_WAITING) return refusal('ERR_TOKEN_BUSY', issuer.issuer)
  issuer.waiting++
  await look
  issuer.waiting--
  return find()
}

function unavailable({ keys, issuer }: Issuer): Refusal {
  const { failure } = keys
  return refusal('ERR_TOKEN_KEYS_UNAVAILABLE', failure === undefined ? issuer : `${failure.reason}: ${failure.detail}`)
}

function holds({ keys }: Issuer, thumbprint: string | undefined): boolean {
  return keys.current?.keys.some((key) => key.thumbprint === thumbprint) === true
}

function digestOf({ current }: IssuerKeys): string {
  return current === undefined
    ? '-'
    : hash('sha256', current.keys.map(({ thumbprint, kid, algorithm }) => `${thumbprint} ${kid} ${algorithm}`).join('\n'))
}

function statusOf({ issuer, origin, keys }: Issuer): KeyStatus {
  const { current, failure, failedAt, changedAt } = keys
  const digest = current === undefined ? undefined : digestOf(keys)
  return { issuer, origin: origin.name, isLocal: origin.isLocal, keys: current?.keys.length ?? 0, failure, failedAt, changedAt, digest }
}
