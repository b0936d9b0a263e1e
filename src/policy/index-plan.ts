/** Where a conjunction goes in the index: what must be so of principal, method and path for it to hold, and what that leaves to ask. */
import type { StringFact, StringMatcher } from './document.ts'
import type { Literal } from './entry.ts'
import { literalPrefix } from './path-pattern.ts'

/** A path, or what it begins with. */
export interface PathKey {
  readonly text: string
  readonly exact: boolean
}

/** Undefined: any. At most `ids`, or `namespaces` and `accounts`, or `domains` are given. */
export interface IndexPlan {
  readonly ids: readonly string[] | undefined
  readonly namespaces: readonly string[] | undefined
  readonly accounts: readonly string[] | undefined
  readonly domains: readonly string[] | undefined
  readonly methods: readonly string[] | undefined
  /** One of these; empty: any. */
  readonly paths: readonly PathKey[]
  /** What the only one of `paths` does not settle is left too. */
  readonly left: readonly Literal[]
  /** Settled by `methods`, unless they cannot be told apart. */
  readonly methodLiteral: Literal | undefined
}

export function planIndex(literals: readonly Literal[]): IndexPlan {
  const ids = findNames(literals, 'spiffe_id')
  const namespaces = ids === undefined ? findNames(literals, 'namespace') : undefined
  const accounts = ids === undefined ? findNames(literals, 'service_account') : undefined
  const bare = ids === undefined && namespaces === undefined && accounts === undefined
  const domains = bare ? findNames(literals, 'trust_domain') : undefined
  const methods = findNames(literals, 'http_method')
  const paths = findPaths(literals)
  const settled = new Set(
    [ids, namespaces, accounts, domains, methods, paths].flatMap((found) => (found?.settles === true ? [found.literal] : [])),
  )
  return {
    ids: ids?.names,
    namespaces: namespaces?.names,
    accounts: accounts?.names,
    domains: domains?.names,
    methods: methods?.names,
    paths: paths?.keys ?? serviceKeys(literals),
    left: literals.filter((literal) => !settled.has(literal)),
    methodLiteral: methods?.settles === true ? methods.literal : undefined,
  }
}

interface Found {
  readonly names: readonly string[]
  readonly literal: Literal
  /** The literal says no more than that. */
  readonly settles: boolean
}

/** The only values of a fact that the literals leave open, where one of them says so outright. */
function findNames(literals: readonly Literal[], fact: StringFact): Found | undefined {
  for (const literal of literals) {
    const matcher = matcherOf(literal, fact)
    const names = matcher === undefined ? undefined : namesOf(matcher)
    if (matcher !== undefined && names !== undefined) return { names: [...new Set(names)], literal, settles: matcher.length === 1 }
  }
  return undefined
}

function matcherOf({ criterion, negated }: Literal, fact: StringFact): StringMatcher | undefined {
  return !negated && criterion.kind === 'string' && criterion.fact === fact ? criterion.matcher : undefined
}

/** Absent facts are `''`, which no name in an index may stand for. */
function namesOf(matcher: StringMatcher): readonly string[] | undefined {
  for (const test of matcher) {
    const names = test.test === 'is' ? [test.text] : test.test === 'in' ? test.texts : undefined
    if (names !== undefined && !names.includes('')) return names
  }
  return undefined
}

function findPaths(literals: readonly Literal[]): (Omit<Found, 'names'> & { readonly keys: readonly PathKey[] }) | undefined {
  const whole = findNames(literals, 'http_path')
  if (whole !== undefined) {
    const keys = whole.names.map((text) => ({ text, exact: true }))
    return { keys, literal: whole.literal, settles: whole.settles && keys.length === 1 }
  }
  for (const literal of literals) {
    const matcher = matcherOf(literal, 'http_path') ?? []
    for (const test of matcher) {
      if (test.test === 'starts_with') return { keys: [{ text: test.text, exact: false }], literal, settles: matcher.length === 1 }
      if (test.test === 'matches') return { keys: [{ text: literalPrefix(test.pattern), exact: false }], literal, settles: false }
    }
  }
  return undefined
}

/** The path of a gRPC request is `/service/method`. */
function serviceKeys(literals: readonly Literal[]): readonly PathKey[] {
  return (findNames(literals, 'grpc_service')?.names ?? []).map((service) => ({ text: `/${service}/`, exact: false }))
}
