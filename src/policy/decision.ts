/** The answer of policy to one request. */
import type { ReasonCode } from '#base/reasons'
import type { LimitGroup } from './document.ts'

export interface ShadowVerdict {
  /** What would be decided if the shadow documents were enforced too. */
  readonly allow: boolean
  readonly reason: ReasonCode | undefined
  readonly policy: string
  readonly rule: string
}

/** How often callers may make use of a rule; frozen, and equal limits of one rule have equal `key`s whatever the generation. */
export interface RateLimit {
  readonly key: string
  /** Ms in which one request is earned back. */
  readonly interval: number
  /** Requests that may come at once. */
  readonly burst: number
  readonly per: LimitGroup
  /** In words: `at most 100 requests/s per peer, burst 200`. */
  readonly text: string
}

export interface Decision {
  readonly allow: boolean
  /** Undefined when allowed. */
  readonly reason: ReasonCode | undefined
  /** `namespace/name` of the document that decided; `''` where none did. */
  readonly policy: string
  /** Name of the rule that decided (`#2` for the second without a name); `''` where none did. */
  readonly rule: string
  /** Ms since the epoch until when time alone cannot change the answer; Infinity if it never does. */
  readonly validUntil: number
  /** Generation of the compiled policy. */
  readonly generation: number
  readonly shadow: ShadowVerdict | undefined
  /** Of the allow rule that decided. It changes no answer of policy: whoever serves the request counts. */
  readonly limit?: RateLimit | undefined
}
