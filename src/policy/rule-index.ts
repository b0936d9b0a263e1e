/**
 * Finds the entries that may concern a request: by principal, then by path; the method is a bit to compare. The index only narrows:
 * every entry it yields is evaluated in full, so a fault here could miss a rule but never bend one.
 */
import type { Entry, Literal } from './entry.ts'
import type { RequestFacts } from './facts.ts'
import { collectPath, createPathTree, insertPath, type PathNode } from './path-tree.ts'
import { literalPrefix } from './path-pattern.ts'
import type { StringFact, StringMatcher } from './document.ts'

/** Up to so many entries are walked; more are split by path. */
const WALK = 6

/** Entries of one principal. */
interface Bucket {
  /** Without a path to find them by, or too few to care. In document order. */
  walked: Entry[]
  tree: PathNode | undefined
  /** Of `walked`, for when the bucket is split. */
  keys: (readonly PathKey[])[]
}

interface PathKey {
  readonly text: string
  readonly exact: boolean
}

export interface RuleIndex {
  readonly byId: Map<string, Bucket>
  readonly byNamespace: Map<string, Bucket>
  readonly byAccount: Map<string, Bucket>
  /** By namespace, then service account. */
  readonly byBoth: Map<string, Map<string, Bucket>>
  readonly byDomain: Map<string, Bucket>
  readonly anyone: Bucket
  size: number
  /** At least one entry depends on time. */
  timed: boolean
}

export function createRuleIndex(): RuleIndex {
  return {
    byId: new Map(),
    byNamespace: new Map(),
    byAccount: new Map(),
    byBoth: new Map(),
    byDomain: new Map(),
    anyone: createBucket(),
    size: 0,
    timed: false,
  }
}

function createBucket(): Bucket {
  return { walked: [], tree: undefined, keys: [] }
}

/** Entries must come in document order. Yields after each step of work, so that long lists of names do not hold a turn up. */
export function* insertEntry(index: RuleIndex, entry: Entry, literals: readonly Literal[]): Generator<void> {
  index.size++
  index.timed ||= entry.times.length > 0
  const paths = pathKeys(literals)
  for (const bucket of bucketsFor(index, literals)) {
    yield* insertInBucket(bucket, entry, paths)
    yield
  }
}

function* bucketsFor(index: RuleIndex, literals: readonly Literal[]): Generator<Bucket> {
  const ids = namesOf(literals, 'spiffe_id')
  const namespaces = namesOf(literals, 'namespace')
  const accounts = namesOf(literals, 'service_account')
  const domains = namesOf(literals, 'trust_domain')
  if (ids !== undefined) {
    for (const id of ids) yield bucketAt(index.byId, id)
  } else if (namespaces !== undefined && accounts !== undefined) {
    for (const namespace of namespaces) {
      const inside = index.byBoth.get(namespace) ?? new Map<string, Bucket>()
      index.byBoth.set(namespace, inside)
      for (const account of accounts) yield bucketAt(inside, account)
    }
  } else if (accounts !== undefined) {
    for (const account of accounts) yield bucketAt(index.byAccount, account)
  } else if (namespaces !== undefined) {
    for (const namespace of namespaces) yield bucketAt(index.byNamespace, namespace)
  } else if (domains !== undefined) {
    for (const domain of domains) yield bucketAt(index.byDomain, domain)
  } else {
    yield index.anyone
  }
}

function bucketAt(map: Map<string, Bucket>, key: string): Bucket {
  let bucket = map.get(key)
  if (bucket === undefined) {
    bucket = createBucket()
    map.set(key, bucket)
  }
  return bucket
}

/** The only values of a fact that literals leave open, where a positive `is` or `in` says so. */
export function namesOf(literals: readonly Literal[], fact: StringFact): ReadonlySet<string> | undefined {
  for (const { criterion, negated } of literals) {
    if (negated || criterion.kind !== 'string' || criterion.fact !== fact) continue
    const names = finiteNames(criterion.matcher)
    if (names !== undefined) return new Set(names)
  }
  return undefined
}

function finiteNames(matcher: StringMatcher): readonly string[] | undefined {
  for (const test of matcher) {
    if (test.test === 'is') return [test.text]
    if (test.test === 'in') return test.texts
  }
  return undefined
}

/** Paths or their beginnings of which one must be there for the literals to hold; empty if that is unknown. */
function pathKeys(literals: readonly Literal[]): readonly PathKey[] {
  const exact = namesOf(literals, 'http_path')
  if (exact !== undefined) return [...exact].map((text) => ({ text, exact: true }))
  for (const { criterion, negated } of literals) {
    if (negated || criterion.kind !== 'string' || criterion.fact !== 'http_path') continue
    for (const test of criterion.matcher) {
      if (test.test === 'starts_with') return [{ text: test.text, exact: false }]
      if (test.test === 'matches') return [{ text: literalPrefix(test.pattern), exact: false }]
    }
  }
  const services = namesOf(literals, 'grpc_service')
  return services === undefined ? [] : [...services].map((service) => ({ text: `/${service}/`, exact: false }))
}

function* insertInBucket(bucket: Bucket, entry: Entry, keys: readonly PathKey[]): Generator<void> {
  if (bucket.tree === undefined && bucket.walked.length < WALK) {
    bucket.walked.push(entry)
    bucket.keys.push(keys)
    return
  }
  if (bucket.tree === undefined) {
    const { walked, keys: kept } = bucket
    bucket.tree = createPathTree()
    bucket.walked = []
    bucket.keys = []
    for (const [position, earlier] of walked.entries()) yield* spread(bucket, bucket.tree, earlier, kept[position] ?? [])
  }
  yield* spread(bucket, bucket.tree, entry, keys)
}

function* spread(bucket: Bucket, tree: PathNode, entry: Entry, keys: readonly PathKey[]): Generator<void> {
  if (keys.length === 0) bucket.walked.push(entry)
  for (const { text, exact } of keys) {
    insertPath(tree, text, exact, entry)
    yield
  }
}

/** Writes the lists of entries that may concern a request to `out`; returns their number. */
export function collectEntries(index: RuleIndex, facts: RequestFacts, out: (readonly Entry[])[]): number {
  if (index.size === 0) return 0
  const { path, peer } = facts
  let count = collectBucket(index.anyone, path, out, 0)
  if (peer === undefined) return count
  const { uri, namespace, serviceAccount, trustDomain } = peer.id
  count = collectFrom(index.byId, uri, path, out, count)
  count = collectFrom(index.byDomain, trustDomain, path, out, count)
  if (namespace === undefined || serviceAccount === undefined) return count
  count = collectFrom(index.byNamespace, namespace, path, out, count)
  count = collectFrom(index.byAccount, serviceAccount, path, out, count)
  if (index.byBoth.size === 0) return count
  const inside = index.byBoth.get(namespace)
  return inside === undefined ? count : collectFrom(inside, serviceAccount, path, out, count)
}

function collectFrom(map: Map<string, Bucket>, key: string, path: string, out: (readonly Entry[])[], count: number): number {
  if (map.size === 0) return count
  const bucket = map.get(key)
  return bucket === undefined ? count : collectBucket(bucket, path, out, count)
}

function collectBucket({ walked, tree }: Bucket, path: string, out: (readonly Entry[])[], count: number): number {
  let found = count
  if (walked.length > 0) out[found++] = walked
  return tree === undefined ? found : collectPath(tree, path, out, found)
}
