/** Turns documents into what `decide` reads: an index from principal to method to path, and each rule as conjunctions. */
import type { ReasonCode } from '#base/reasons'
import { createMemo, type Memo } from './compile-criterion.ts'
import type { Decision } from './decision.ts'
import { appliesTo, type PolicyDocument, type PolicyRule, type PolicyScope } from './document.ts'
import { ANY_METHOD, conjunctionsOf, createEntry, type Entry, hasHttp, type NamedRule } from './entry.ts'
import { type IndexPlan, planIndex } from './index-plan.ts'
import { compileLimit } from './limit.ts'
import { createPathHashes, type PathHashes } from './path-hash.ts'
import { createRuleIndex, insertEntry, type RuleIndex } from './rule-index.ts'
import type { Zone } from './zone.ts'

/** The rules of one mode. */
export interface CompiledRules {
  readonly index: RuleIndex
  /** The first deny rule with HTTP criteria: it refuses every opaque connection. */
  httpDeny: NamedRule | undefined
}

/** Opaque to all but `decide`; holds closures, so it stays in the thread that compiled it. */
export interface CompiledPolicy {
  readonly generation: number
  /** Rules of the documents that apply, shadow documents included. */
  readonly rules: number
  /** At least one document that applies is enforced. */
  readonly enforced: boolean
  readonly enforce: CompiledRules
  /** Undefined where no document that applies is in shadow mode. */
  readonly shadow: CompiledRules | undefined
  /** Method → its bit in `Entry.methods`. */
  readonly methods: ReadonlyMap<string, number>
  /** Keys of the limits that decisions may name. */
  readonly limits: ReadonlySet<string>
  /** What is decided where no document applies. */
  readonly none: Decision
  /** What is decided where no rule matches. */
  readonly noAllow: Decision
  /** Length of the longest path literal that is found by its hash; 0 if none is. */
  readonly longest: number
  readonly hashes: PathHashes
  readonly memo: Memo
  /** Room for the lists of entries that one search yields. */
  readonly found: (readonly Entry[])[]
}

/** Compiles in slices, so that no event-loop turn is held up: `add` each document, `advance` until it says false, `finish`. */
export interface PolicyCompiler {
  /** Cheap: only takes note. Documents keep the order in which they are added. */
  add(document: PolicyDocument): void
  /** Compiles about `steps` more rules (default 100, about a millisecond). True while more remain. */
  advance(steps?: number): boolean
  /** Compiles whatever remains and closes the compiler. */
  finish(generation: number): CompiledPolicy
}

/** Bits of a number that bit operators keep apart. */
const METHOD_BITS = 31

export function createPolicyCompiler(scope: PolicyScope): PolicyCompiler {
  const documents: PolicyDocument[] = []
  const building: Building = {
    enforce: createRules(),
    shadow: createRules(),
    methods: new Map(),
    zones: new Map(),
    limits: new Set(),
    rules: 0,
    enforced: false,
    shadowed: false,
  }
  const work = compileAll(documents, building)
  const advance = (steps: number): boolean => {
    for (let step = 0; step < steps; step++) {
      if (work.next().done === true) return false
    }
    return true
  }
  return {
    add(document) {
      if (!appliesTo(document, scope)) return
      documents.push(document)
      if (document.mode === 'enforce') building.enforced = true
      else building.shadowed = true
    },
    advance: (steps = 100) => advance(steps),
    finish(generation) {
      advance(Infinity)
      const { enforce, shadow, methods, limits, rules, enforced, shadowed } = building
      return {
        generation,
        rules,
        enforced,
        enforce,
        shadow: shadowed ? shadow : undefined,
        methods,
        limits,
        none: refusing('ERR_POLICY_NONE', generation),
        noAllow: refusing('ERR_POLICY_NO_ALLOW', generation),
        longest: Math.max(enforce.index.longest, shadow.index.longest),
        hashes: createPathHashes(),
        memo: createMemo(),
        found: [],
      }
    },
  }
}

function refusing(reason: ReasonCode, generation: number): Decision {
  return Object.freeze({
    allow: false,
    reason,
    policy: '',
    rule: '',
    validUntil: Infinity,
    generation,
    shadow: undefined,
    limit: undefined,
  })
}

interface Building {
  readonly enforce: CompiledRules
  readonly shadow: CompiledRules
  readonly methods: Map<string, number>
  readonly zones: Map<string, Zone>
  readonly limits: Set<string>
  rules: number
  enforced: boolean
  shadowed: boolean
}

function createRules(): CompiledRules {
  return { index: createRuleIndex(), httpDeny: undefined }
}

/** Reads `documents` to its end, which may move until `finish`. */
function* compileAll(documents: readonly PolicyDocument[], building: Building): Generator<void> {
  for (const document of documents) {
    const rules = document.mode === 'enforce' ? building.enforce : building.shadow
    for (const rule of document.rules) {
      yield* compileRule(document.name, rule, rules, building)
      yield
    }
  }
}

function* compileRule(policy: string, rule: PolicyRule, rules: CompiledRules, building: Building): Generator<void> {
  const http = hasHttp(rule)
  // What shadow documents allow is let through by others or not at all: there is nothing to count.
  const limit = rules === building.enforce ? compileLimit(policy, rule) : undefined
  if (limit !== undefined) building.limits.add(limit.key)
  const named: NamedRule = { ordinal: building.rules++, policy, rule: rule.name, limit, decision: undefined }
  if (rule.action === 'deny' && http) rules.httpDeny ??= named
  for (const literals of conjunctionsOf(rule)) {
    const plan = planIndex(literals)
    const methods = methodBits(plan, building.methods)
    const left = methods === ANY_METHOD && plan.methodLiteral !== undefined ? [...plan.left, plan.methodLiteral] : plan.left
    const [only, second] = plan.paths
    const { text, exact } = only === undefined || second !== undefined ? ANY_PATH : only
    const entry = createEntry(named, { methods, path: text, exact, http }, left, building.zones)
    yield* insertEntry(rules.index, entry, rule.action, plan)
  }
}

const ANY_PATH = { text: '', exact: false }

/** The bits of the only methods that a plan leaves open. */
function methodBits({ methods }: IndexPlan, known: Map<string, number>): number {
  if (methods === undefined) return ANY_METHOD
  let bits = 0
  for (const name of methods) {
    const bit = known.get(name) ?? (known.size < METHOD_BITS ? 1 << known.size : undefined)
    if (bit === undefined) return ANY_METHOD
    known.set(name, bit)
    bits |= bit
  }
  return bits
}
