/** A request described in a few words, as `tests:`, `--cases` and the options of `postern explain` have it, made into facts. */
import type { Refusal } from '#base/result'
import { refusal } from '#base/result'
import { nearest } from '#base/suggest'
import { isValidAuthority, normaliseHost } from '#http/authority'
import { canonicalPath, decisionPath, type PathOptIn, type PathRules } from '#http/canonical-path'
import { isToken } from '#http/characters'
import { addHeader, createHeaderList, type HeaderList, headerValue } from '#http/header-list'
import type { CertificateFacts, Peer, TokenPrincipal } from '#identity/peer'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { asBytes } from './bytes.ts'
import type { RequestFacts } from './facts.ts'
import { parseIp } from './network.ts'
import { parseInstant } from './read-time.ts'

/** A request as described. What is not said is undefined, for the caller to complete. */
export interface DescribedRequest {
  readonly facts: RequestFacts
  /** Ms since the epoch. */
  readonly at: number | undefined
  readonly service: string | undefined
  readonly labels: Readonly<Record<string, string>> | undefined
  readonly port: number | undefined
  /** Why the request never reaches policy; undefined if it does. */
  readonly refused: Refusal | undefined
}

/** `faults`: what is wrong with the description itself, a sentence each; empty if nothing is. */
export interface RequestReading {
  readonly request: DescribedRequest | undefined
  readonly faults: readonly string[]
}

export const REQUEST_KEYS = [
  'peer',
  'method',
  'path',
  'host',
  'headers',
  'token',
  'at',
  'source_ip',
  'port',
  'protocol',
  'certificate',
  'service',
  'labels',
  'paths',
] as const

type Key = (typeof REQUEST_KEYS)[number]

/** The names of options, as keys too. */
const OTHER_NAMES: Readonly<Record<string, Key>> = { header: 'headers', label: 'labels', 'source-ip': 'source_ip' }

const PATH_OPT_INS: readonly string[] = ['encoded-slash', 'double-slash', 'params', 'double-encoding', 'ignore-case']

/** @param now when a token's life is judged if `at` does not say. @param certificate facts of the peer's certificate, if they are known */
export function readRequest(description: Readonly<Record<string, unknown>>, now: number, certificate?: CertificateFacts): RequestReading {
  const faults: string[] = []
  const values = new Map<Key, unknown>()
  for (const [name, value] of Object.entries(description)) {
    const key = Object.hasOwn(OTHER_NAMES, name) ? OTHER_NAMES[name] : REQUEST_KEYS.find((known) => known === name)
    if (key !== undefined) values.set(key, value)
    else {
      const meant = nearest(name, REQUEST_KEYS)
      faults.push(`A request has no \`${name}\`.${meant === undefined ? '' : ` Did you mean \`${meant}\`?`}`)
    }
  }
  const request = describe(createReader(values, faults), now, certificate)
  return { request: faults.length === 0 ? request : undefined, faults }
}

interface Reader {
  readonly fault: (message: string) => undefined
  readonly value: (key: Key) => unknown
  readonly text: (key: Key) => string | undefined
}

function createReader(values: ReadonlyMap<Key, unknown>, faults: string[]): Reader {
  const fault = (message: string): undefined => void faults.push(message)
  const value = (key: Key): unknown => values.get(key) ?? undefined
  const text = (key: Key): string | undefined => {
    const found = value(key)
    return found === undefined || typeof found === 'string' ? found : fault(`\`${key}\` must be a string.`)
  }
  return { fault, value, text }
}

function describe(reader: Reader, now: number, certificate: CertificateFacts | undefined): DescribedRequest {
  const at = readAt(reader)
  const protocol = readProtocol(reader)
  const tcp = protocol === 'tcp'
  for (const key of ['method', 'path', 'host', 'headers', 'token'] as const) {
    if (tcp && reader.value(key) !== undefined) reader.fault(`A tcp connection has no \`${key}\`.`)
  }
  const rules = readPathRules(reader)
  const [target, query] = splitTarget(reader.text('path') ?? '/')
  const path = tcp ? '' : canonicalPath(target, rules)
  const headers = readHeaders(reader)
  const token = readToken(reader, at ?? now)
  const port = readPort(reader)
  const sourceIp = reader.text('source_ip') ?? ''
  if (sourceIp !== '' && parseIp(sourceIp) === undefined) reader.fault(`\`source_ip\` must be an IP address, and \`${sourceIp}\` is none.`)
  const facts: RequestFacts = {
    protocol,
    peer: readPeer(reader, certificate),
    token: 'ok' in token ? undefined : token.principal,
    method: tcp ? '' : readMethod(reader, protocol),
    path: typeof path === 'string' && !tcp ? decisionPath(path as Parameters<typeof decisionPath>[0], rules) : '',
    query: tcp ? undefined : query,
    host: tcp ? '' : readHost(reader, headers),
    headers: tcp ? undefined : headers,
    sourceIp,
    port: port ?? 0,
  }
  const refused = typeof path === 'string' ? ('ok' in token ? token : undefined) : path
  return { facts, at, service: reader.text('service'), labels: readLabels(reader), port, refused }
}

function splitTarget(target: string): [string, string | undefined] {
  const question = target.indexOf('?')
  return question === -1 ? [target, undefined] : [target.slice(0, question), target.slice(question + 1)]
}

function readAt(reader: Reader): number | undefined {
  const text = reader.text('at')
  if (text === undefined) return undefined
  return parseInstant(text) ?? reader.fault(`\`at\` must be an instant as RFC 3339 writes it, such as 2030-01-31T08:00:00Z.`)
}

function readProtocol(reader: Reader): RequestFacts['protocol'] {
  const text = reader.text('protocol') ?? 'http'
  if (text !== 'http' && text !== 'grpc' && text !== 'tcp') {
    reader.fault(`\`protocol\` must be \`http\`, \`grpc\` or \`tcp\`.`)
    return 'http'
  }
  return text
}

function readPathRules(reader: Reader): PathRules {
  const names = [reader.value('paths') ?? []].flat().map(String)
  for (const name of names)
    if (!PATH_OPT_INS.includes(name)) reader.fault(`\`paths\` takes ${PATH_OPT_INS.join(', ')}, and not \`${name}\`.`)
  return { allow: new Set(names.filter((name) => name !== 'ignore-case') as PathOptIn[]), ignoreCase: names.includes('ignore-case') }
}

function readMethod(reader: Reader, protocol: RequestFacts['protocol']): string {
  const method = reader.text('method') ?? (protocol === 'grpc' ? 'POST' : 'GET')
  if (!isToken(method)) reader.fault(`\`method\` must be the name of a method, and \`${method}\` is none.`)
  return method
}

function readPort(reader: Reader): number | undefined {
  const value = reader.value('port')
  const port = typeof value === 'string' && /^\d{1,5}$/.test(value) ? Number(value) : value
  if (port === undefined || (typeof port === 'number' && Number.isInteger(port) && port >= 0 && port <= 65_535)) return port
  return reader.fault('`port` must be a number from 0 to 65535.')
}

/** `{ name: value }`, `{ name: [value, value] }`, `name: value`, or a list of these lines. */
function readHeaders(reader: Reader): HeaderList {
  const headers = createHeaderList()
  const add = (name: string, value: unknown): void => {
    const lower = name.trim().toLowerCase()
    if (!isToken(lower) || typeof value !== 'string' || /[\0\r\n]/.test(value)) reader.fault(`\`${name}\` is not a header with a string.`)
    else addHeader(headers, lower, asBytes(value.replaceAll(/^[ \t]+|[ \t]+$/g, '')))
  }
  const value = reader.value('headers') ?? []
  if (typeof value === 'object' && !Array.isArray(value)) {
    for (const [name, of] of Object.entries(value ?? {})) for (const one of Array.isArray(of) ? of : [of]) add(name, one)
    return headers
  }
  for (const line of Array.isArray(value) ? value : [value]) {
    const colon = typeof line === 'string' ? line.indexOf(':') : -1
    if (typeof line !== 'string' || colon < 1) reader.fault('A header is written as `name: value`.')
    else add(line.slice(0, colon), line.slice(colon + 1))
  }
  return headers
}

function readHost(reader: Reader, headers: HeaderList): string {
  const authority = reader.text('host') ?? headerValue(headers, 'host') ?? ''
  if (authority !== '' && !isValidAuthority(authority))
    reader.fault(`\`host\` must be a host with an optional port, and \`${authority}\` is none.`)
  return normaliseHost(authority)
}

function readLabels(reader: Reader): Record<string, string> | undefined {
  const value = reader.value('labels')
  if (value === undefined) return undefined
  if (typeof value === 'object' && !Array.isArray(value)) {
    const entries = Object.entries(value ?? {})
    if (entries.every(([, label]) => typeof label === 'string')) return Object.fromEntries(entries)
    return reader.fault('The values of `labels` must be strings.')
  }
  const lines = (Array.isArray(value) ? value : [value]).map(String)
  const pairs = lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)
  if (lines.some((line) => line.indexOf('=') < 1)) return reader.fault('A label is written as `key=value`.')
  return Object.fromEntries(pairs)
}

function readPeer(reader: Reader, certificate: CertificateFacts | undefined): Peer | undefined {
  const named = reader.text('peer')
  const [only, second] = certificate?.sanUris ?? []
  const text = named ?? (second === undefined ? only : undefined)
  if (text === undefined) {
    if (certificate !== undefined || reader.value('certificate') !== undefined)
      reader.fault('The certificate has no one SPIFFE ID: say `peer`.')
    return undefined
  }
  if (certificate !== undefined && !certificate.sanUris.includes(text)) reader.fault(`The certificate is not one of ${text}.`)
  const id = parseSpiffeId(text)
  if (!id.ok) return reader.fault(`\`peer\` must be a SPIFFE ID, and \`${text}\` is none: ${id.detail}.`)
  return { id: id.value, certificate: certificate ?? describedCertificate(reader, id.value), authorities: [] }
}

const CERTIFICATE_KEYS = ['fingerprint', 'spki_hash', 'san_uri', 'san_dns', 'san_email']

/** As much of a certificate as a description says. */
function describedCertificate(reader: Reader, id: SpiffeId): CertificateFacts {
  const value = reader.value('certificate') ?? {}
  const object: Readonly<Record<string, unknown>> = typeof value === 'object' && !Array.isArray(value) ? { ...value } : {}
  if (typeof value !== 'object' || Array.isArray(value) || !Object.keys(object).every((key) => CERTIFICATE_KEYS.includes(key))) {
    reader.fault(`\`certificate\` is a map of ${CERTIFICATE_KEYS.join(', ')}.`)
  }
  const texts = (key: string): string[] => (object[key] === undefined ? [] : [object[key]].flat().map(String))
  return {
    fingerprint: (texts('fingerprint')[0] ?? '').replaceAll(':', '').toLowerCase(),
    spkiHash: texts('spki_hash')[0] ?? '',
    serial: '',
    notBefore: 0,
    notAfter: Infinity,
    sanUris: [...new Set([id.uri, ...texts('san_uri')])],
    sanDns: texts('san_dns'),
    sanEmails: texts('san_email'),
  }
}

/** Claims are taken as verified; only their time is judged. */
function readToken(reader: Reader, at: number): { readonly principal: TokenPrincipal | undefined } | Refusal {
  const value = reader.value('token')
  if (value === undefined) return { principal: undefined }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { principal: reader.fault('`token` must be the claims of a token, as a map.') }
  }
  const claims: Readonly<Record<string, unknown>> = Object.assign(Object.create(null) as Record<string, unknown>, value)
  const { iss, sub, aud, exp, nbf } = claims
  if (typeof iss !== 'string' || typeof sub !== 'string') reader.fault('`token` needs the claims `iss` and `sub`, as strings.')
  for (const claim of [exp, nbf]) {
    if (claim !== undefined && typeof claim !== 'number') reader.fault('`exp` and `nbf` of `token` must be numbers, seconds since 1970.')
  }
  if (typeof exp === 'number' && at >= exp * 1000) return refusal('ERR_TOKEN_EXPIRED', `at ${instant(exp)}`)
  if (typeof nbf === 'number' && at < nbf * 1000) return refusal('ERR_TOKEN_NOT_YET_VALID', `before ${instant(nbf)}`)
  const { namespace, serviceAccount, trustDomain } = workloadOf(sub)
  const principal: TokenPrincipal = {
    issuer: typeof iss === 'string' ? iss : '',
    subject: typeof sub === 'string' ? sub : '',
    audiences: (Array.isArray(aud) ? aud : [aud]).filter((audience) => typeof audience === 'string'),
    namespace,
    serviceAccount,
    trustDomain,
    claims,
    expiresAt: typeof exp === 'number' ? exp * 1000 : Infinity,
  }
  return { principal }
}

function instant(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? `${seconds} s since 1970` : date.toISOString()
}

interface Workload {
  readonly namespace: string | undefined
  readonly serviceAccount: string | undefined
  readonly trustDomain: string | undefined
}

/** The subject of a Kubernetes service-account token (KEP-1205), whose trust domain nobody tells here, or of a JWT-SVID. */
function workloadOf(subject: unknown): Workload {
  const id = typeof subject === 'string' ? parseSpiffeId(subject) : undefined
  if (id?.ok === true) return id.value
  const match = typeof subject === 'string' ? /^system:serviceaccount:([^:]+):([^:]+)$/.exec(subject) : null
  return { namespace: match?.[1], serviceAccount: match?.[2], trustDomain: undefined }
}
