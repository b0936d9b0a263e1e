/** A map that forgets: bounded in number, each entry bounded in time. */

export interface BoundedCache<K, V> {
  get(key: K, now: number): V | undefined
  /** @param expiresAt ms since the epoch */
  set(key: K, value: V, expiresAt: number): void
  delete(key: K): void
  /** Forgets every entry that `gone` says is. */
  deleteWhere(gone: (value: V) => boolean): void
  clear(): void
  readonly size: number
}

/** Least recently used goes first once `capacity` entries are held. */
export function createBoundedCache<K, V>(capacity: number): BoundedCache<K, V> {
  const entries = new Map<K, { readonly value: V; readonly expiresAt: number }>()
  return {
    get(key, now) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      entries.delete(key)
      if (entry.expiresAt <= now) return undefined
      entries.set(key, entry)
      return entry.value
    },
    set(key, value, expiresAt) {
      entries.delete(key)
      entries.set(key, { value, expiresAt })
      if (entries.size > capacity) {
        const oldest = entries.keys().next()
        if (oldest.done !== true) entries.delete(oldest.value)
      }
    },
    delete: (key) => void entries.delete(key),
    deleteWhere(gone) {
      for (const [key, { value }] of entries) if (gone(value)) entries.delete(key)
    },
    clear: () => entries.clear(),
    get size() {
      return entries.size
    },
  }
}
