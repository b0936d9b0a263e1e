/** The proof that a request was authorized: made from a decision that allows, bound to the head that was decided, used once. */
import type { Decision } from '#policy/decision'

declare const permitted: unique symbol

/** Only `issuePermit` makes one; `forward` takes nothing else. */
export interface Permit {
  readonly [permitted]: true
}

interface PermitState {
  head: string | undefined
}

/** @param head the request head as it will be sent, byte for byte (latin1) */
export function issuePermit(decision: Decision, head: string): Permit {
  if (!decision.allow) throw new TypeError('a permit was asked for a decision that refuses')
  return { head } satisfies PermitState as unknown as Permit
}

/** @returns the head to send. A second use is a bug of ours and throws. */
export function consumePermit(permit: Permit): string {
  const state = permit as unknown as PermitState
  const { head } = state
  if (head === undefined) throw new TypeError('a permit was used twice')
  state.head = undefined
  return head
}
