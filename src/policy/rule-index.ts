/** Finds the entries that may concern a request: by principal, then by path. The method is a bit that each entry compares. */
import type { SpiffeId } from '#identity/spiffe-id'
import type { Entry } from './entry.ts'
import type { IndexPlan, PathKey } from './index-plan.ts'
import { fileUnder, type PathHashes } from './path-hash.ts'

/** Up to so many entries are walked; more are split by path. */
const WALK = 6
/** Callers whose buckets are remembered; then they are looked up again. */
const REMEMBERED = 8192

/** Entries of one action. Every list is in document order. */
interface EntrySet {
  /** Without a path to find them by, or too few to care. */
  walked: Entry[]
  /** Of `walked`, for when they are split. */
  keys: (readonly PathKey[])[]
  table: Map<number, Entry[]> | undefined
  /** Bits of the depths under which something is filed in the table. */
  depths: number
}

/** What stands under one principal. */
export interface Bucket {
  readonly allow: EntrySet
  readonly deny: EntrySet
}

export interface RuleIndex {
  readonly byId: Map<string, Bucket>
  readonly byNamespace: Map<string, Bucket>
  readonly byAccount: Map<string, Bucket>
  /** By namespace, then service account. */
  readonly byBoth: Map<string, Map<string, Bucket>>
  readonly byDomain: Map<string, Bucket>
  readonly anyone: readonly [Bucket]
  /** Buckets by id of those who called. */
  readonly remembered: Map<string, readonly Bucket[]>
  /** Length of the longest path literal that is filed in a table. */
  longest: number
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
    anyone: [createBucket()],
    remembered: new Map(),
    longest: 0,
    timed: false,
  }
}

function createBucket(): Bucket {
  return { allow: createSet(), deny: createSet() }
}

function createSet(): EntrySet {
  return { walked: [], keys: [], table: undefined, depths: 0 }
}

/** Entries must come in document order. Yields after each step of work, so that long lists of names do not hold a turn up. */
export function* insertEntry(index: RuleIndex, entry: Entry, action: 'allow' | 'deny', plan: IndexPlan): Generator<void> {
  index.timed ||= entry.times.length > 0
  for (const bucket of bucketsFor(index, plan)) {
    yield* insertInSet(bucket[action], entry, plan.paths, index)
    yield
  }
}

function* bucketsFor(index: RuleIndex, { ids, namespaces, accounts, domains }: IndexPlan): Generator<Bucket> {
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
    yield index.anyone[0]
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

function* insertInSet(set: EntrySet, entry: Entry, keys: readonly PathKey[], index: RuleIndex): Generator<void> {
  if (set.table === undefined && set.walked.length < WALK) {
    set.walked.push(entry)
    set.keys.push(keys)
    return
  }
  if (set.table === undefined) {
    const { walked, keys: kept } = set
    set.table = new Map()
    set.walked = []
    set.keys = []
    for (const [position, earlier] of walked.entries()) yield* spread(set, set.table, earlier, kept[position] ?? [], index)
  }
  yield* spread(set, set.table, entry, keys, index)
}

function* spread(set: EntrySet, table: Map<number, Entry[]>, entry: Entry, keys: readonly PathKey[], index: RuleIndex): Generator<void> {
  if (keys.length === 0) set.walked.push(entry)
  for (const { text, exact } of keys) {
    const { hash, depth } = fileUnder(text, exact)
    const list = table.get(hash)
    if (list === undefined) table.set(hash, [entry])
    else list.push(entry)
    set.depths |= depth
    index.longest = Math.max(index.longest, text.length)
    yield
  }
}

/** The buckets that concern a caller. */
export function bucketsOf(index: RuleIndex, id: SpiffeId | undefined): readonly Bucket[] {
  if (id === undefined) return index.anyone
  const known = index.remembered.get(id.uri)
  if (known !== undefined) return known
  const { uri, namespace, serviceAccount, trustDomain } = id
  const buckets = [index.anyone[0], index.byId.get(uri), index.byDomain.get(trustDomain)]
  if (namespace !== undefined && serviceAccount !== undefined) {
    buckets.push(index.byNamespace.get(namespace), index.byAccount.get(serviceAccount), index.byBoth.get(namespace)?.get(serviceAccount))
  }
  const found = buckets.filter((bucket) => bucket !== undefined)
  if (index.remembered.size >= REMEMBERED) index.remembered.clear()
  index.remembered.set(uri, found)
  return found
}

/** Writes the lists of entries that may concern a path to `out`; returns their number. */
export function collectEntries(
  buckets: readonly Bucket[],
  action: 'allow' | 'deny',
  hashes: PathHashes,
  out: (readonly Entry[])[],
): number {
  let count = 0
  for (let position = 0; position < buckets.length; position++) {
    const bucket = buckets[position]
    if (bucket === undefined) continue
    const { walked, table, depths } = action === 'allow' ? bucket.allow : bucket.deny
    if (walked.length > 0) out[count++] = walked
    if (table === undefined) continue
    if ((depths & 1) !== 0) {
      const list = table.get(hashes.whole)
      if (list !== undefined) out[count++] = list
    }
    for (let left = depths & hashes.depths; left !== 0; left &= left - 1) {
      const list = table.get(hashes.beginnings[31 - Math.clz32(left & -left)] ?? 0)
      if (list !== undefined) out[count++] = list
    }
  }
  return count
}
