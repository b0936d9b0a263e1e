/** The decision: pure, from a compiled policy, the facts of a request and the time. */
import type { CompiledPolicy } from './compile.ts'
import type { Decision } from './decision.ts'
import type { RequestFacts } from './facts.ts'

/**
 * Allowed when at least one allow rule matches and no deny rule does. The rule named is the first in document order.
 * @param now ms since the epoch
 */
export function decide(policy: CompiledPolicy, _facts: RequestFacts, _now: number): Decision {
  return {
    allow: false,
    reason: 'ERR_POLICY_NONE',
    policy: '',
    rule: '',
    validUntil: Infinity,
    generation: policy.generation,
    shadow: undefined,
  }
}
