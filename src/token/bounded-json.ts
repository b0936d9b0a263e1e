/** JSON objects out of untrusted text: nested no deeper than a limit, without prototype. */

/** Levels of nesting, the object itself being the first. */
const MAX_DEPTH = 16

export type JsonObject = Readonly<Record<string, unknown>>

export type JsonFault = 'not JSON' | 'not an object' | 'nested too deep'

/** An object of own properties only: `__proto__` in the text is a property like any other. */
export function readJsonObject(text: string): JsonObject | JsonFault {
  if (deeperThan(text, MAX_DEPTH)) return 'nested too deep'
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'not JSON'
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'not an object'
  return Object.assign(Object.create(null) as Record<string, unknown>, value)
}

/** Counted before parsing. Brackets in strings are told apart, so that no text escapes the count by a quote. */
function deeperThan(text: string, limit: number): boolean {
  let depth = 0
  let inString = false
  for (let index = 0; index < text.length; index++) {
    const character = text.charCodeAt(index)
    if (inString) {
      if (character === 0x5c) index++
      else if (character === 0x22) inString = false
    } else if (character === 0x22) inString = true
    else if (character === 0x7b || character === 0x5b) {
      if (++depth > limit) return true
    } else if (character === 0x7d || character === 0x5d) depth--
  }
  return false
}
