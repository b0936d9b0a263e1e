/** SPIFFE IDs by the letter (SPIFFE-ID §2). Parsed by hand: WHATWG `URL` accepts and rewrites what the standard forbids. */
import { ok, refusal, type Result } from '#base/result'

/** A parsed SPIFFE ID; equal IDs have equal `uri`. Made only by `parseSpiffeId`, and frozen. */
export interface SpiffeId {
  /** `spiffe://trust-domain/path`, at most 2,048 bytes. */
  readonly uri: string
  /** At most 255 bytes. */
  readonly trustDomain: string
  /** With its leading slash; `''` for the trust domain's own ID. */
  readonly path: string
  /** Of paths `/ns/<namespace>/sa/<service account>`; else undefined. */
  readonly namespace: string | undefined
  readonly serviceAccount: string | undefined
}

/** SPIFFE-ID §2.3. */
const LONGEST_ID = 2048
/** RFC 3986 §3.2.2: the host of a URI. */
const LONGEST_TRUST_DOMAIN = 255

const SCHEME = 'spiffe://'

// Tables and loops instead of patterns: this runs once in every handshake, and a pattern is compiled too seldom to be fast then.
const TRUST_DOMAIN_CHARACTERS = tableOf('abcdefghijklmnopqrstuvwxyz0123456789._-')
const SEGMENT_CHARACTERS = tableOf('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-')

/** Lower-case letters, digits, dot, dash and underscore, 1 to 255 of them. */
export function isTrustDomain(name: string): boolean {
  return name.length <= LONGEST_TRUST_DOMAIN && isMadeOf(TRUST_DOMAIN_CHARACTERS, name)
}

/**
 * A SPIFFE ID from its text. Scheme and trust domain must be lower-case: IDs that differ only by case would be equal by SPIFFE-ID §2.4,
 * and one spelling for each ID keeps comparison a comparison of strings.
 * Refused with `ERR_SPIFFE_ID_MALFORMED`, the detail naming the rule.
 */
export function parseSpiffeId(text: string): Result<SpiffeId> {
  if (text.length > LONGEST_ID) return malformed(`longer than ${LONGEST_ID} bytes`)
  if (!text.startsWith(SCHEME)) return malformed('the scheme is not `spiffe://` in lower case')
  const slash = text.indexOf('/', SCHEME.length)
  const trustDomain = text.slice(SCHEME.length, slash === -1 ? text.length : slash)
  if (!isTrustDomain(trustDomain)) return malformed(trustDomainFault(trustDomain))
  const path = slash === -1 ? '' : text.slice(slash)
  const segments = path.split('/')
  for (let index = 1; index < segments.length; index++) {
    const segment = segments[index] ?? ''
    if (!isMadeOf(SEGMENT_CHARACTERS, segment) || segment === '.' || segment === '..')
      return malformed(segmentFault(segment, index === segments.length - 1))
  }
  const named = segments.length === 5 && segments[1] === 'ns' && segments[3] === 'sa'
  return ok(
    Object.freeze({
      uri: text,
      trustDomain,
      path,
      namespace: named ? segments[2] : undefined,
      serviceAccount: named ? segments[4] : undefined,
    }),
  )
}

function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(128)
  for (let index = 0; index < characters.length; index++) table[characters.charCodeAt(index)] = 1
  return table
}

/** At least one character, and all of them in `table`. */
function isMadeOf(table: Uint8Array, text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (table[text.charCodeAt(index)] !== 1) return false
  }
  return text !== ''
}

function malformed(detail: string): Result<never> {
  return refusal('ERR_SPIFFE_ID_MALFORMED', detail)
}

function trustDomainFault(name: string): string {
  if (name === '') return 'the trust domain is empty'
  if (name.includes('@')) return 'there is user information before the trust domain'
  if (name.includes(':')) return 'there is a port after the trust domain, or it is an IPv6 address'
  if (name.includes('%')) return 'the trust domain is percent-encoded'
  if (name.includes('?')) return 'there is a query'
  if (name.includes('#')) return 'there is a fragment'
  if (/[A-Z]/.test(name)) return 'the trust domain has upper-case letters'
  if (name.length > LONGEST_TRUST_DOMAIN) return `the trust domain is longer than ${LONGEST_TRUST_DOMAIN} bytes`
  return 'the trust domain has characters other than a-z, 0-9, dot, dash and underscore'
}

function segmentFault(segment: string, isLast: boolean): string {
  if (segment === '') return isLast ? 'the path ends with a slash' : 'the path has an empty segment'
  if (segment === '.' || segment === '..') return 'the path has a dot segment'
  if (segment.includes('?')) return 'there is a query'
  if (segment.includes('#')) return 'there is a fragment'
  if (segment.includes('%')) return 'the path is percent-encoded'
  return 'the path has characters other than letters, digits, dot, dash and underscore'
}
