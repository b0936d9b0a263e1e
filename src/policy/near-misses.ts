/** Finds names that are one slip of the pen away from another name of the same kind in a set of policies. */
import type { Location } from '#base/located'
import { editDistance } from '#base/suggest'

/** Names of one kind: ids, namespaces, hosts… By the name with its numbers levelled. */
export interface NamePool {
  readonly names: Map<string, NameUse>
}

export interface NameUse {
  /** As written where it was first. */
  name: string
  /** How often it is used. */
  uses: number
  /** Where it was written first; undefined where it only follows from another name. */
  at: Location | undefined
}

export interface NearMiss {
  readonly name: string
  readonly meant: string
  readonly at: Location
}

/** Shorter names differ by one character as a matter of course. */
const SHORTEST = 4

export function noteName(pool: NamePool, name: string, at: Location | undefined): void {
  // Names that differ by number alone are one name: there may be thousands of them.
  const key = name.replaceAll(/\d+/g, '0')
  const use = pool.names.get(key)
  if (use === undefined) pool.names.set(key, { name, uses: 1, at })
  else {
    use.uses++
    if (use.at !== undefined || at === undefined) return
    use.at = at
    use.name = name
  }
}

/** Pairs at distance one, each reported once, on the name that is used less (the later one where both are used once). */
export function nearMisses(pool: NamePool): NearMiss[] {
  const misses: NearMiss[] = []
  const groups = new Map<string, string[]>()
  for (const [name, use] of pool.names) {
    if (name.length < SHORTEST) continue
    const neighbours = new Set<string>()
    // Two names at distance one share the name with one character left out (or are it).
    for (let index = -1; index < name.length; index++) {
      const key = index === -1 ? name : name.slice(0, index) + name.slice(index + 1)
      const group = groups.get(key)
      if (group === undefined) groups.set(key, [name])
      else {
        for (const other of group) neighbours.add(other)
        group.push(name)
      }
    }
    neighbours.delete(name)
    for (const other of neighbours) {
      const miss = judgePair(name, use, other, pool.names.get(other))
      if (miss !== undefined) misses.push(miss)
    }
  }
  return misses
}

function judgePair(name: string, use: NameUse, other: string, otherUse: NameUse | undefined): NearMiss | undefined {
  if (otherUse === undefined || editDistance(name, other, 1) > 1 || isDeliberate(name, other)) return undefined
  if (use.uses <= otherUse.uses && use.uses === 1 && use.at !== undefined) return { name: use.name, meant: otherUse.name, at: use.at }
  return otherUse.uses === 1 && otherUse.at !== undefined ? { name: otherUse.name, meant: use.name, at: otherUse.at } : undefined
}

/** Numbers, plurals, a final slash and words of one letter make names differ on purpose: `web1` `web2`, `order` `orders`, `zone-a` `zone-b`. */
function isDeliberate(a: string, b: string): boolean {
  let start = 0
  while (start < a.length && a[start] === b[start]) start++
  let end = 0
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)]
  if (/^\d*$/.test(left + right)) return true
  if (left === '' || right === '') {
    const added = left + right
    const next = a[a.length - end]
    return added === '/' || (added === 's' && (next === undefined || /[^A-Za-z]/.test(next)))
  }
  const apart = (text: string, from: number, to: number): boolean =>
    (from === 0 || /[^A-Za-z0-9]/.test(text[from - 1] ?? '')) && (to === text.length || /[^A-Za-z0-9]/.test(text[to] ?? ''))
  return left.length === 1 && right.length === 1 && apart(a, start, a.length - end)
}
