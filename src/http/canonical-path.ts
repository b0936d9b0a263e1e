/**
 * The one form of a path that policy compares and the app receives: escapes in upper case, unreserved characters decoded, the
 * rest left encoded (RFC 3986 §6.2.2). What two servers could read differently is refused instead of repaired.
 */
import { type Refusal, refusal } from '#base/result'
import { HEX_VALUE, UNRESERVED } from './characters.ts'

declare const canonical: unique symbol
/** A path in canonical form, without query. Made only by `canonicalPath`. */
export type CanonicalPath = string & { readonly [canonical]: true }

/** Kinds of paths that are refused unless a listener opts in by name. */
export type PathOptIn = 'encoded-slash' | 'double-slash' | 'params' | 'double-encoding'

export interface PathRules {
  readonly allow: ReadonlySet<PathOptIn>
  /** The app ignores case: decisions are made on `decisionPath`. */
  readonly ignoreCase: boolean
}

const SLASH = 0x2f
const SEMICOLON = 0x3b
const PERCENT = 0x25

/** 1 for what stands for itself wherever it stands: pchar of RFC 3986 §3.3 without `%` and `;`. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, code) =>
  UNRESERVED[code] === 1 || "!$&'()*+,=:@".includes(String.fromCharCode(code)) ? 1 : 0,
)

/**
 * Whatever needs a second look. A pattern, because paths are slices of a head, whose characters are slow to get one by one.
 */
const SUSPECT = /[^A-Za-z0-9\-._~!$&'()*+,=:@/]|\/[./]/

/** Not allowed in a URI, yet sent plain by clients that follow the WHATWG; encoded, so that they have one spelling. */
const SENT_PLAIN = '"<>[]^`{|}'

/** A segment that is `.` or `..` to whoever decodes it, cuts parameters off (`..;x`) or trims (`..%20`). */
const BLANK = '(?:%(?:[01][0-9A-F]|20|7F))*'
const DOT_SEGMENT = new RegExp(`^${BLANK}\\.{1,2}${BLANK}(?:;|%3B|$)`)
const EMPTY_SEGMENT = /^(?:;|$)/
const ENCODED_TWICE = /%25(?=[0-9A-Fa-f]{2})/

/**
 * The canonical form of a path, or why there is none. Canonical paths map to themselves, as the same string.
 * @param path without query; `*` is let through, which the codecs admit for OPTIONS alone
 */
export function canonicalPath(path: string, rules: PathRules): CanonicalPath | Refusal {
  if (!path.startsWith('/')) return path === '*' ? (path as CanonicalPath) : refusal('ERR_PATH_RELATIVE')
  return SUSPECT.test(path) ? canonicaliseAll(path, rules.allow) : (path as CanonicalPath)
}

/** What policy compares: the path itself, or for apps that ignore case, in lower case with its escapes left in upper case. */
export function decisionPath(path: CanonicalPath, rules: PathRules): string {
  if (!rules.ignoreCase) return path
  const lower = path.toLowerCase()
  return lower.includes('%') ? lower.replace(/%[0-9a-f]{2}/g, (escape) => escape.toUpperCase()) : lower
}

export interface LiteralVerdict {
  /** The text is what a canonical path can be equal to. */
  readonly ok: boolean
  /** What was probably meant, where that is known. */
  readonly suggestion: string | undefined
  /** Why nothing can ever equal it, where that is so. */
  readonly refusal: Refusal | undefined
}

const EVERYTHING: ReadonlySet<PathOptIn> = new Set(['encoded-slash', 'double-slash', 'params', 'double-encoding'])

/**
 * Judges a text that a policy compares paths with. All opt-ins count as given: which apply is the listener's business.
 * @param whole the text is a whole path; of a part (`starts_with`, `contains`) no segment is judged, because it may go on
 */
export function canonicalLiteral(text: string, whole: boolean): LiteralVerdict {
  const encoded = text.toWellFormed().replace(/[^\x21-\x7e]/gu, encodeURIComponent)
  const result = whole ? canonicalPath(encoded, { allow: EVERYTHING, ignoreCase: false }) : normalise(encoded, EVERYTHING)
  if (typeof result !== 'string') return { ok: false, suggestion: undefined, refusal: result }
  return result === text ? { ok: true, suggestion: undefined, refusal: undefined } : { ok: false, suggestion: result, refusal: undefined }
}

function canonicaliseAll(path: string, allow: ReadonlySet<PathOptIn>): CanonicalPath | Refusal {
  const once = normalise(path, allow)
  if (typeof once !== 'string') return once
  const fault = checkSegments(once, allow)
  if (fault !== undefined) return fault
  if (ENCODED_TWICE.test(once)) {
    if (!allow.has('double-encoding')) return refusal('ERR_PATH_DOUBLE_ENCODING')
    // Whoever decodes twice must find nothing that is refused to those who decode once.
    const twice = normalise(once.replaceAll(new RegExp(ENCODED_TWICE, 'g'), '%'), allow)
    if (typeof twice !== 'string') return twice
    const hidden = checkSegments(twice, allow)
    if (hidden !== undefined) return hidden
  }
  return once as CanonicalPath
}

/** Normalises escapes and refuses characters; segments are not looked at. Returns the same string if nothing changed. */
function normalise(path: string, allow: ReadonlySet<PathOptIn>): string | Refusal {
  let out = ''
  let copied = 0
  for (let index = 0; index < path.length;) {
    const code = path.charCodeAt(index)
    if (PLAIN[code] === 1 || code === SLASH) {
      index++
    } else if (code === PERCENT) {
      const value = escapeAt(path, index)
      if (value === -1) return refusal('ERR_PATH_ESCAPE')
      const length = value < 0x80 ? 1 : utf8Length(path, index, value)
      if (length === 0) return refusal('ERR_PATH_UTF8')
      const fault = value < 0x80 ? checkEscape(value, allow) : undefined
      if (fault !== undefined) return fault
      const end = index + 3 * length
      out += path.slice(copied, index)
      out += UNRESERVED[value] === 1 ? String.fromCharCode(value) : path.slice(index, end).toUpperCase()
      copied = end
      index = end
    } else if (code === SEMICOLON) {
      if (!allow.has('params')) return refusal('ERR_PATH_PARAMS')
      index++
    } else if (SENT_PLAIN.includes(path.charAt(index))) {
      out += `${path.slice(copied, index)}%${code.toString(16).toUpperCase()}`
      copied = ++index
    } else if (code === 0x5c) {
      return refusal('ERR_PATH_BACKSLASH')
    } else {
      return refusal(code === 0x23 ? 'ERR_PATH_FRAGMENT' : 'ERR_PATH_CHARACTER')
    }
  }
  if (copied === 0) return path
  const result = out + path.slice(copied)
  return result === path ? path : result
}

function checkEscape(value: number, allow: ReadonlySet<PathOptIn>): Refusal | undefined {
  if (value === 0) return refusal('ERR_PATH_NUL')
  if (value === 0x5c) return refusal('ERR_PATH_BACKSLASH')
  if (value === SLASH && !allow.has('encoded-slash')) return refusal('ERR_PATH_ENCODED_SLASH')
  return undefined
}

function checkSegments(path: string, allow: ReadonlySet<PathOptIn>): Refusal | undefined {
  const segments = path.replaceAll('%2F', '/').split('/')
  const last = segments.length - 1
  for (let index = 1; index <= last; index++) {
    const segment = segments[index] ?? ''
    if (DOT_SEGMENT.test(segment)) return refusal('ERR_PATH_DOT_SEGMENT')
    // `/;x/a` is `//a` to whoever cuts parameters off. The last segment may be empty: that is a trailing slash.
    if (index !== last && EMPTY_SEGMENT.test(segment) && !allow.has('double-slash')) return refusal('ERR_PATH_DOUBLE_SLASH')
  }
  return undefined
}

/** The byte that `%XX` at an index stands for; -1 if it is no escape. */
function escapeAt(path: string, index: number): number {
  if (path.charCodeAt(index) !== PERCENT) return -1
  const high = HEX_VALUE[path.charCodeAt(index + 1)] ?? 255
  const low = HEX_VALUE[path.charCodeAt(index + 2)] ?? 255
  return high > 15 || low > 15 ? -1 : high * 16 + low
}

/** How many escapes make up the well-formed UTF-8 character that begins here (RFC 3629 §4); 0 if it is none. */
function utf8Length(path: string, index: number, lead: number): number {
  const length = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  for (let position = 1; position < length; position++) {
    const value = escapeAt(path, index + 3 * position)
    if (value < (position === 1 ? least : 0x80) || value > (position === 1 ? most : 0xbf)) return 0
  }
  return length
}
