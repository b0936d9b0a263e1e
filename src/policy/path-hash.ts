/**
 * Hashes of a path and of its beginnings, each up to a slash, from one walk. They choose what is compared and decide nothing, so a
 * collision costs a comparison.
 */

/** Deeper slashes are not told apart. */
const MAX_DEPTH = 30
/** Small integers everywhere. */
const BITS = 0x3fffffff
const SALT = 0x2545f491

export interface PathHashes {
  /** By number of slashes; the first stands for nothing. */
  readonly beginnings: Int32Array
  /** Bit d is set where there is a beginning with d slashes. */
  depths: number
  /** Of the whole path; -1 for one that is longer than any literal. */
  whole: number
}

export function createPathHashes(): PathHashes {
  return { beginnings: new Int32Array(MAX_DEPTH + 1), depths: 0, whole: -1 }
}

/** @param longest characters after which no literal goes on */
export function hashPath(hashes: PathHashes, path: string, longest: number): void {
  const end = Math.min(path.length, longest)
  let hash = 0
  let depth = 0
  for (let index = 0; index < end; index++) {
    const code = path.charCodeAt(index)
    hash = Math.imul(hash ^ code, 0x01000193)
    if (code === 0x2f && depth < MAX_DEPTH) hashes.beginnings[++depth] = (hash ^ (hash >>> 15)) & BITS
  }
  hashes.depths = depth === 0 ? 0 : (2 << depth) - 2
  hashes.whole = path.length > longest ? -1 : (hash ^ (hash >>> 15) ^ SALT) & BITS
}

/** Where a literal is filed: its hash, and the bit of its depth; bit 0 for a whole path. */
export function fileUnder(text: string, exact: boolean): { readonly hash: number; readonly depth: number } {
  const hashes = createPathHashes()
  hashPath(hashes, text, text.length)
  if (exact) return { hash: hashes.whole, depth: 1 }
  const deepest = 31 - Math.clz32(hashes.depths)
  return { hash: hashes.beginnings[deepest] ?? 0, depth: 1 << deepest }
}
