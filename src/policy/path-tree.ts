/** A radix tree of path literals, so that finding the entries for a path costs its length and not their number. */
import type { Entry } from './entry.ts'

export interface PathNode {
  /** Characters between the parent and here. */
  label: string
  /** Entries for every path that begins with what leads here. */
  prefix: Entry[]
  /** Entries for the one path that leads here. */
  exact: Entry[]
  /** By the first character of their labels. */
  children: Map<number, PathNode> | undefined
}

const NONE: Entry[] = []

export function createPathTree(): PathNode {
  return { label: '', prefix: NONE, exact: NONE, children: undefined }
}

/** @param exact else for every path that begins with `text` */
export function insertPath(root: PathNode, text: string, exact: boolean, entry: Entry): void {
  const node = nodeFor(root, text)
  if (exact) node.exact = node.exact === NONE ? [entry] : (node.exact.push(entry), node.exact)
  else node.prefix = node.prefix === NONE ? [entry] : (node.prefix.push(entry), node.prefix)
}

function nodeFor(root: PathNode, text: string): PathNode {
  let node = root
  let position = 0
  while (position < text.length) {
    const code = text.charCodeAt(position)
    node.children ??= new Map()
    const child = node.children.get(code)
    if (child === undefined) {
      const leaf: PathNode = { label: text.slice(position), prefix: NONE, exact: NONE, children: undefined }
      node.children.set(code, leaf)
      return leaf
    }
    const shared = sharedLength(child.label, text, position)
    if (shared < child.label.length) {
      const upper: PathNode = { label: child.label.slice(0, shared), prefix: NONE, exact: NONE, children: new Map() }
      child.label = child.label.slice(shared)
      upper.children?.set(child.label.charCodeAt(0), child)
      node.children.set(code, upper)
      node = upper
    } else {
      node = child
    }
    position += shared
  }
  return node
}

function sharedLength(label: string, text: string, position: number): number {
  let length = 0
  while (length < label.length && label.charCodeAt(length) === text.charCodeAt(position + length)) length++
  return length
}

/** Writes the lists of entries that a path may concern to `out` from `count` on; returns the new count. */
export function collectPath(root: PathNode, path: string, out: (readonly Entry[])[], count: number): number {
  let node = root
  let position = 0
  let found = count
  for (;;) {
    if (node.prefix.length > 0) out[found++] = node.prefix
    if (position === path.length) {
      if (node.exact.length > 0) out[found++] = node.exact
      return found
    }
    const child = node.children?.get(path.charCodeAt(position))
    if (child === undefined || !path.startsWith(child.label, position)) return found
    position += child.label.length
    node = child
  }
}
