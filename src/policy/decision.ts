/** The answer of policy to one request. */
import type { ReasonCode } from '#base/reasons'

export interface ShadowVerdict {
  /** What would be decided if the shadow documents were enforced too. */
  readonly allow: boolean
  readonly reason: ReasonCode | undefined
  readonly policy: string
  readonly rule: string
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
}
