/** The proof that a request was authorized: made from a decision that allows, bound to the head that was decided, used once. */
import type { Decision } from '#policy/decision'

declare const permitted: unique symbol

/** Only `issuePermit` makes one; `forward` takes nothing else. `H` is the head as the protocol sends it. */
export interface Permit<H = string> {
  readonly [permitted]: H
}

interface PermitState<H> {
  head: H | undefined
}

/** @param head the request head as it will be sent */
export function issuePermit<H>(decision: Decision | undefined, head: H): Permit<H> {
  if (decision?.allow !== true) throw new TypeError('a permit was asked for without a decision that allows')
  return { head } satisfies PermitState<H> as unknown as Permit<H>
}

/** @returns the head to send. A second use is a bug of ours and throws. */
export function consumePermit<H>(permit: Permit<H>): H {
  const state = permit as unknown as PermitState<H>
  const { head } = state
  if (head === undefined) throw new TypeError('a permit was used twice')
  state.head = undefined
  return head
}
