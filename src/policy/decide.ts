/** The decision: pure, from a compiled policy, the facts of a request and the time. */
import type { CompiledPolicy, CompiledRules } from './compile.ts'
import type { Decision, ShadowVerdict } from './decision.ts'
import { changesAt, type Entry, holdsApartFromTime, holdsAt, type NamedRule } from './entry.ts'
import type { RequestFacts } from './facts.ts'
import { hashPath } from './path-hash.ts'
import { type Bucket, bucketsOf, collectEntries } from './rule-index.ts'

/**
 * Allowed when at least one allow rule matches and no deny rule does. The rule named is the first in document order.
 * @param now ms since the epoch
 */
export function decide(policy: CompiledPolicy, facts: RequestFacts, now: number): Decision {
  const { enforce, shadow } = policy
  const method = policy.methods.get(facts.method) ?? 0
  if (policy.longest > 0) hashPath(policy.hashes, facts.path, policy.longest)
  const buckets = bucketsOf(enforce.index, facts.peer?.id)
  const denying = firstDeny(enforce, buckets, policy, facts, method, now)
  const allowing = denying === undefined || shadow !== undefined ? firstMatch(buckets, 'allow', policy, facts, method, now) : undefined
  const plain = verdict(policy, denying, allowing)
  const base = enforce.index.timed ? { ...plain, validUntil: validUntil(policy, buckets, facts, method, now) } : plain
  if (shadow === undefined) return base
  const shadowBuckets = bucketsOf(shadow.index, facts.peer?.id)
  const shadowDenying = earlier(denying, firstDeny(shadow, shadowBuckets, policy, facts, method, now))
  const shadowAllowing = earlier(allowing, firstMatch(shadowBuckets, 'allow', policy, facts, method, now))
  return { ...base, shadow: shadowVerdict(shadowDenying, shadowAllowing) }
}

function firstDeny(
  rules: CompiledRules,
  buckets: readonly Bucket[],
  policy: CompiledPolicy,
  facts: RequestFacts,
  method: number,
  now: number,
): NamedRule | undefined {
  const matching = firstMatch(buckets, 'deny', policy, facts, method, now)
  return facts.protocol === 'tcp' ? earlier(matching, rules.httpDeny) : matching
}

function earlier(a: NamedRule | undefined, b: NamedRule | undefined): NamedRule | undefined {
  return a === undefined || (b !== undefined && b.ordinal < a.ordinal) ? b : a
}

/** The first rule in document order that matches. */
function firstMatch(
  buckets: readonly Bucket[],
  action: 'allow' | 'deny',
  policy: CompiledPolicy,
  facts: RequestFacts,
  method: number,
  now: number,
): NamedRule | undefined {
  const { found, memo } = policy
  const count = collectEntries(buckets, action, policy.hashes, found)
  let first: Entry | undefined
  for (let list = 0; list < count; list++) {
    const entries = found[list] ?? []
    for (let position = 0; position < entries.length; position++) {
      const entry = entries[position]
      // Each list is in document order: what follows cannot come before what was found.
      if (entry === undefined || (first !== undefined && entry.ordinal >= first.ordinal)) break
      if (!holdsApartFromTime(entry, facts, method, memo)) continue
      if (entry.times.length > 0 && !holdsAt(entry, now)) continue
      first = entry
      break
    }
  }
  return first?.rule
}

function verdict(policy: CompiledPolicy, denying: NamedRule | undefined, allowing: NamedRule | undefined): Decision {
  const rule = denying ?? allowing
  if (rule === undefined) return policy.enforced ? policy.noAllow : policy.none
  rule.decision ??= Object.freeze({
    allow: denying === undefined,
    reason: denying === undefined ? undefined : 'ERR_POLICY_DENIED',
    policy: rule.policy,
    rule: rule.rule,
    validUntil: Infinity,
    generation: policy.generation,
    shadow: undefined,
    limit: denying === undefined ? rule.limit : undefined,
  } as const)
  return rule.decision
}

function shadowVerdict(denying: NamedRule | undefined, allowing: NamedRule | undefined): ShadowVerdict {
  const rule = denying ?? allowing
  const allow = denying === undefined && allowing !== undefined
  const reason = denying !== undefined ? 'ERR_POLICY_DENIED' : allow ? undefined : 'ERR_POLICY_NO_ALLOW'
  return { allow, reason, policy: rule?.policy ?? '', rule: rule?.rule ?? '' }
}

/**
 * The instant until which time alone cannot change whether the request is allowed. A lower bound that is met where a single
 * criterion decides: an allowed request waits for the first deny rule that could begin or the last allow rule to end; a refused
 * one for the last deny rule to end and the first allow rule that could begin.
 */
function validUntil(policy: CompiledPolicy, buckets: readonly Bucket[], facts: RequestFacts, method: number, now: number): number {
  const denies = survey(buckets, 'deny', policy, facts, method, now)
  const allows = survey(buckets, 'allow', policy, facts, method, now)
  const deniesEnd = facts.protocol === 'tcp' && policy.enforce.httpDeny !== undefined ? Infinity : denies.end
  if (deniesEnd === now) return allows.end === now ? allows.begin : Math.min(denies.begin, allows.end)
  return Math.max(deniesEnd, allows.end === now ? allows.begin : now)
}

/** What time can change about the rules of one action. */
interface Survey {
  /** When the last of those that match now ceases to; `now` if none matches. */
  end: number
  /** When the first of those that do not match now may begin to; Infinity if none can. */
  begin: number
}

function survey(
  buckets: readonly Bucket[],
  action: 'allow' | 'deny',
  policy: CompiledPolicy,
  facts: RequestFacts,
  method: number,
  now: number,
): Survey {
  const { found, memo } = policy
  const count = collectEntries(buckets, action, policy.hashes, found)
  const result: Survey = { end: now, begin: Infinity }
  for (let list = 0; list < count && result.end < Infinity; list++) {
    for (const entry of found[list] ?? []) {
      if (!holdsApartFromTime(entry, facts, method, memo)) continue
      const holds = holdsAt(entry, now)
      const change = changesAt(entry, now, holds)
      if (holds) result.end = Math.max(result.end, change)
      else result.begin = Math.min(result.begin, change)
      if (result.end === Infinity) break
    }
  }
  return result
}
