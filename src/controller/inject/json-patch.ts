/** What changed between two objects as a JSON Patch (RFC 6902): an operation for each member of metadata and spec that differs. */
import { isDeepStrictEqual } from 'node:util'

export interface PatchOperation {
  readonly op: 'add' | 'replace'
  readonly path: string
  readonly value: unknown
}

type Members = Readonly<Record<string, unknown>>

/** Injection takes nothing away: a member that is missing after is a mistake of ours. */
export function jsonPatch(before: Members, after: Members): PatchOperation[] {
  return Object.entries(after).flatMap(([name, value]) => {
    const old = before[name]
    if (isDeepStrictEqual(old, value)) return []
    if (isMembers(old) && isMembers(value) && (name === 'metadata' || name === 'spec')) {
      return jsonPatch(old, value).map((operation) => ({ ...operation, path: `/${name}${operation.path}` }))
    }
    return [
      {
        op: old === undefined ? ('add' as const) : ('replace' as const),
        path: `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
        value,
      },
    ]
  })
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
