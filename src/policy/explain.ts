/** Decides uncompiled, rule by rule, and says why. Always agrees with `decide`. */
import type { Location } from '#base/located'
import type { Decision } from './decision.ts'
import type { Action, Operator, PolicyDocument, PolicyScope } from './document.ts'
import type { RequestFacts } from './facts.ts'

/** A criterion and the fact it was about. */
export interface CriterionVerdict {
  /** `http_method` */
  readonly name: string
  /** What it asks, as text: `in [GET, HEAD]`. */
  readonly expected: string
  /** What the request had, as text; undefined where the fact is absent. */
  readonly actual: string | undefined
  readonly holds: boolean
  readonly at: Location
  /** A near miss, in words. */
  readonly hint?: string
}

export interface RuleVerdict {
  readonly policy: string
  readonly rule: string
  readonly action: Action
  readonly operator: Operator
  readonly mode: 'enforce' | 'shadow'
  readonly matches: boolean
  /** For a rule that does not match, the first criterion that decides so. */
  readonly failing: CriterionVerdict | undefined
  /** How many criteria would have to come out otherwise for the rule to match; 0 if it does. */
  readonly distance: number
  readonly at: Location
  readonly criteria: readonly CriterionVerdict[]
}

export interface Explanation {
  /** What `decide` says, with generation 0. */
  readonly decision: Decision
  /** The rule that decided; undefined where none did. */
  readonly deciding: RuleVerdict | undefined
  /** For a refusal without deny rule: every enforced allow rule, nearest first. For a denial: the allow rules that it overruled. */
  readonly considered: readonly RuleVerdict[]
  /** Documents that do not apply to this service, port or labels. */
  readonly inapplicable: readonly string[]
}

export declare function explain(documents: readonly PolicyDocument[], scope: PolicyScope, facts: RequestFacts, now: number): Explanation

export declare function formatExplanation(explanation: Explanation, colour: boolean): string
