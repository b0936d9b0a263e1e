/**
 * Which request headers a caller may not set (DESIGN §5). Names are compared with every character but letters and digits ignored:
 * apps and frameworks read `X_Forwarded.Client-Cert` and `x-forwarded-client-cert` as one name.
 */

/** What the rewriting does with a header of the app's direction. */
export const KEEP = 0
/** Reserved for us: never reaches the app. */
export const DROP = 1
/** Replaces path or method in some frameworks: dropped unless the listener opts in. */
export const OVERRIDE = 2
/** The one spelling of XFCC that a listed forwarder may keep. */
export const XFCC = 3
export const REQUEST_ID = 4
export const TRACEPARENT = 5
/** Framing: written anew. */
export const FRAMING = 6

/** Of one connection only (RFC 9110 §7.6.1): never passed on, in any direction. */
export const HOP = 7

export type HeaderClass = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'te',
  'upgrade',
  'http2-settings',
])

/** Letters and digits only. `xpostern…` is reserved as a prefix beside these. */
const RESERVED: ReadonlySet<string> = new Set([
  'xforwardedclientcert',
  'xrequestid',
  'forwarded',
  'xforwardedfor',
  'xforwardedproto',
  'xforwardedhost',
  'xforwardedport',
  'xforwardedscheme',
  'xforwardedserver',
  'traceparent',
])

const OVERRIDES: ReadonlySet<string> = new Set([
  'xoriginalurl',
  'xoriginaluri',
  'xoriginalmethod',
  'xoriginalhost',
  'xrewriteurl',
  'xrewriteuri',
  'xhttpmethodoverride',
  'xhttpmethod',
  'xmethodoverride',
  'xforwardeduri',
  'xforwardedpath',
  'xforwardedprefix',
  'xforwardedmethod',
  'xenvoyoriginalpath',
  'xhttpdestinationurl',
  'xhttppathinfo',
])

const memo = new Map<string, HeaderClass>()
const MEMO_NAMES = 1024
const MEMO_LENGTH = 64

/** @param name lower-case. Constant time for names seen before; bounded memory whatever callers send. */
export function headerClass(name: string): HeaderClass {
  const known = memo.get(name)
  if (known !== undefined) return known
  const found = classify(name)
  if (name.length <= MEMO_LENGTH && memo.size < MEMO_NAMES) memo.set(name, found)
  return found
}

function classify(name: string): HeaderClass {
  if (name === 'x-forwarded-client-cert') return XFCC
  if (name === 'x-request-id') return REQUEST_ID
  if (name === 'traceparent') return TRACEPARENT
  if (name === 'host' || name === 'content-length' || name === 'transfer-encoding') return FRAMING
  if (HOP_BY_HOP.has(name)) return HOP
  const letters = name.replace(/[^a-z0-9]/gi, '').toLowerCase()
  if (letters.startsWith('xpostern') || RESERVED.has(letters)) return DROP
  return OVERRIDES.has(letters) ? OVERRIDE : KEEP
}

/** True for a trailer that must not pass in the app's direction: whatever is not plainly kept. */
export function isForbiddenTrailer(name: string): boolean {
  return headerClass(name) !== KEEP
}

/** The `By=…;Hash=…;URI=…` element of x-forwarded-client-cert. SPIFFE IDs and hex hold none of `,;="`, so nothing needs quoting. */
export function xfccElement(own: string, fingerprint: string, peer: string): string {
  return `By=${own};Hash=${fingerprint};URI=${peer}`
}
