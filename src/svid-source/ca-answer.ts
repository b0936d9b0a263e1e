/** What the certificate authority answers, from JSON to typed values: strictly, since nothing of it may go into force half understood. */
import type { Revocation } from '#pki/revocations'
import type { JwtSvid } from '#workload-api/source'

export interface SvidAnswer {
  /** Leaf, then intermediates. */
  readonly certificatePem: string
  /** The SPIFFE bundle of our trust domain, as JSON. */
  readonly bundle: string
  /** Ms since the epoch. */
  readonly renewAt: number
}

export interface TrustAnswer {
  readonly sequence: number
  readonly bundle: string
  readonly revocations: readonly Revocation[]
  /** Ms until the next poll. */
  readonly pollAfter: number
  /** Our certificate hangs on an authority that is about to go. */
  readonly renewNow: boolean
}

/** Ms between polls, whatever the authority says. */
const SHORTEST_POLL = 200
const LONGEST_POLL = 300_000

/** Of a string: what is wrong. */
export type Read<T> = T | string

export function readSvidAnswer(body: unknown): Read<SvidAnswer> {
  if (!isObject(body)) return 'it is not an object'
  const { svid, bundle, renew_at: renewAt } = body
  if (!Array.isArray(svid) || svid.length === 0 || !svid.every((one) => typeof one === 'string'))
    return '`svid` is not a list of PEM certificates'
  if (!isObject(bundle)) return '`bundle` is not an object'
  const at = readTime(renewAt)
  if (at === undefined) return '`renew_at` is not a time'
  return {
    certificatePem: svid.map((one: string) => (one.endsWith('\n') ? one : `${one}\n`)).join(''),
    bundle: JSON.stringify(bundle),
    renewAt: at,
  }
}

export function readTrustAnswer(body: unknown): Read<TrustAnswer> {
  if (!isObject(body)) return 'it is not an object'
  const { sequence, bundle, revocations, poll_after: pollAfter, renew_now: renewNow } = body
  if (!isSequence(sequence)) return '`sequence` is not a whole number'
  if (!isObject(bundle)) return '`bundle` is not an object'
  const ofBundle = bundle['spiffe_sequence']
  if (ofBundle !== undefined && ofBundle !== sequence) return '`sequence` is not that of the bundle'
  if (!Array.isArray(revocations)) return '`revocations` is not a list'
  const read: Revocation[] = []
  for (const [index, entry] of revocations.entries()) {
    const revocation = readRevocation(entry)
    // One that is not understood cannot be enforced, and an acknowledgement would say that it is.
    if (revocation === undefined) return `\`revocations[${index}]\` is of no kind that this version knows`
    read.push(revocation)
  }
  if (typeof pollAfter !== 'number' || !(pollAfter > 0)) return '`poll_after` is not a number of seconds'
  if (typeof renewNow !== 'boolean') return '`renew_now` is neither true nor false'
  const interval = Math.min(LONGEST_POLL, Math.max(SHORTEST_POLL, pollAfter * 1000))
  return { sequence, bundle: JSON.stringify(bundle), revocations: read, pollAfter: interval, renewNow }
}

export function readJwtAnswer(body: unknown): Read<JwtSvid> {
  if (!isObject(body)) return 'it is not an object'
  const { token, expires_at: expiresAt } = body
  if (typeof token !== 'string' || token === '') return '`token` is not a string'
  const at = readTime(expiresAt)
  return at === undefined ? '`expires_at` is not a time' : { token, expiresAt: at }
}

function readRevocation(entry: unknown): Revocation | undefined {
  if (!isObject(entry)) return undefined
  const { kind, value, authority } = entry
  if (typeof value !== 'string') return undefined
  if (kind === 'id') return { kind: 'id', id: value }
  if (kind === 'serial' && isHex(value) && typeof authority === 'string' && isHex(authority))
    return { kind: 'certificate', issuerKeyId: authority, serial: value }
  if (kind === 'authority' && isHex(value))
    return value.length === 64 ? { kind: 'authority', fingerprint: value } : { kind: 'issuer', keyId: value }
  return undefined
}

function isHex(text: string): boolean {
  return /^[0-9A-Fa-f]{1,128}$/.test(text)
}

export function isSequence(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** RFC 3339, UTC. @returns ms since the epoch */
function readTime(value: unknown): number | undefined {
  if (typeof value !== 'string' || !/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/.test(value)) return undefined
  const time = Date.parse(value)
  return Number.isNaN(time) ? undefined : time
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
