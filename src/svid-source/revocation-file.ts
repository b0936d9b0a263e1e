/** The revocations that an operator keeps in a file: a JSON list, of the same entries as the certificate authority answers with. */
import { PosternError } from '#base/errors'
import { createRevocations, type Revocation, type Revocations } from '#pki/revocations'

const MOST = 10_000

/** @param name of the file, in what is thrown @throws ERR_CONFIG_VALUE: nothing of a list goes into force that is half understood */
export function readRevocationFile(text: string, name: string): Revocations {
  const list = parse(text, name)
  if (list.length > MOST) throw wrong(name, `it has more than ${MOST} entries`)
  const entries = list.map((entry, index) => readEntry(entry) ?? index)
  const bad = entries.find((entry) => typeof entry === 'number')
  if (bad !== undefined) throw wrong(name, `entry ${bad + 1} is none of the kinds below`)
  return createRevocations(entries.filter((entry) => typeof entry !== 'number'))
}

/** Two sets as one. */
export function bothRevocations(a: Revocations, b: Revocations): Revocations {
  if (b.size === 0) return a
  if (a.size === 0) return b
  return { size: a.size + b.size, digest: `${a.digest} ${b.digest}`, isRevoked: (peer) => a.isRevoked(peer) || b.isRevoked(peer) }
}

function parse(text: string, name: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(text)
    if (Array.isArray(value)) return value
  } catch {
    throw wrong(name, 'it is not JSON')
  }
  throw wrong(name, 'it is not a list')
}

function readEntry(entry: unknown): Revocation | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  const { kind, value, authority, ...more } = entry as Readonly<Record<string, unknown>>
  // `until` and `reason` are for people; any other key may be a misspelt one that narrows or widens.
  if (typeof value !== 'string' || Object.keys(more).some((key) => key !== 'until' && key !== 'reason')) return undefined
  if (kind === 'id' && authority === undefined) return /^spiffe:\/\/[^/]+\/./.test(value) ? { kind: 'id', id: value } : undefined
  if (kind === 'serial' && isHex(value) && typeof authority === 'string' && isHex(authority))
    return { kind: 'certificate', issuerKeyId: authority, serial: value }
  if (kind === 'authority' && authority === undefined && isHex(value)) {
    const digits = value.replaceAll(':', '')
    return digits.length === 64 ? { kind: 'authority', fingerprint: value } : { kind: 'issuer', keyId: value }
  }
  return undefined
}

function isHex(text: string): boolean {
  return /^[0-9A-Fa-f:]{1,256}$/.test(text) && text.replaceAll(':', '') !== ''
}

function wrong(name: string, why: string): PosternError {
  return new PosternError(
    'ERR_CONFIG_VALUE',
    `The revocations in ${name} cannot be used: ${why}. Write a JSON list of {"kind": "id", "value": SPIFFE ID}, {"kind": "serial", "value": hex, "authority": the issuer's key id} and {"kind": "authority", "value": SHA-256 of its certificate, or its key id}.`,
  )
}
