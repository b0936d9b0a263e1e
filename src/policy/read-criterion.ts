/** Reads one criterion: a table from its name to the form its value takes. */
import type { LocatedValue, Location } from '#base/located'
import { nearest } from '#base/suggest'
import { asList, asString, complain, type Complaints, entriesOf, inWords } from './complaints.ts'
import type { CertificateMatcher, Criterion, Flag, StringFact, StringMatcher } from './document.ts'
import { formatNetwork, networkOf, parseNetwork } from './network.ts'
import { readListMatcher, readStringMatcher, type TextKind } from './read-matcher.ts'
import { readDate, readDayOfWeek, readTimeOfDay } from './read-time.ts'

type WithoutPlace<T> = T extends unknown ? Omit<T, 'name' | 'line' | 'column'> : never
type Body = WithoutPlace<Criterion>
type Reader = (value: LocatedValue, complaints: Complaints, name: string) => Body | undefined

const FLAGS: readonly Flag[] = ['accept', 'reject', 'authenticated_user', 'cors_preflight', 'invalid_client_certificate', 'token_is_peer']

const STRINGS: Readonly<Record<StringFact, TextKind>> = {
  spiffe_id: 'id',
  trust_domain: 'domain',
  namespace: 'text',
  service_account: 'text',
  'token/issuer': 'text',
  'token/subject': 'text',
  'token/namespace': 'text',
  'token/service_account': 'text',
  user: 'text',
  email: 'text',
  domain: 'text',
  http_method: 'text',
  http_path: 'path',
  http_host: 'host',
  grpc_service: 'text',
  grpc_method: 'text',
}

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ...FLAGS.map((flag): [string, Reader] => [flag, (value, complaints) => readFlag(value, flag, complaints)]),
  ...Object.entries(STRINGS).map(([fact, kind]): [string, Reader] => [
    fact,
    (value, complaints) => {
      const matcher = readStringMatcher(value, `\`${fact}\``, kind, complaints)
      return matcher === undefined ? undefined : { kind: 'string', fact: fact as StringFact, matcher }
    },
  ]),
  ...(['token/audience', 'groups'] as const).map((fact): [string, Reader] => [
    fact,
    (value, complaints) => {
      const matcher = readListMatcher(value, `\`${fact}\``, complaints)
      return matcher === undefined ? undefined : { kind: 'list', fact, matcher }
    },
  ]),
  ['source_ip', readSourceIp],
  ['port', readPorts],
  ['client_certificate', readCertificate],
  ['date', readDate],
  ['day_of_week', readDayOfWeek],
  ['time_of_day', readTimeOfDay],
])

/** Criteria named `prefix/…`. */
const PREFIXES: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ['claim', readClaim],
  ['header', readHeader],
  ['query', readQuery],
])

/** PPL's criteria that mean nothing here, and why. */
const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ['device', 'a device is a person’s, and the posture of workloads is not attested yet'],
  ['ssh_publickey', 'no SSH passes through here'],
  ['ssh_ca', 'no SSH passes through here'],
  ['ssh_username', 'no SSH passes through here'],
  ['ssh_username_matches_email', 'no SSH passes through here'],
  ['ssh_username_matches_claim', 'no SSH passes through here'],
  ['mcp_tool', 'decisions are made on the head of a request, and tools are named in its body; use `http_path`'],
  ['pomerium_routes', 'there are no routes of Pomerium here; say where a policy applies with `spec.target`'],
  ['record', 'there is no external data here; use claims of the token'],
])

/** What people call things in other policy languages. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  path: 'http_path',
  method: 'http_method',
  host: 'http_host',
  peer: 'spiffe_id',
  principal: 'spiffe_id',
  ip: 'source_ip',
  group: 'groups',
}

/** Those without a `/NAME` of their own. */
export const CRITERION_NAMES: readonly string[] = [...READERS.keys()]

const NAMES: readonly string[] = [...CRITERION_NAMES, ...UNSUPPORTED.keys()]

/** @param at of the name, which is where the criterion is said to be */
export function readCriterion(name: string, at: Location, value: LocatedValue, complaints: Complaints): Criterion | undefined {
  const reader = READERS.get(name) ?? PREFIXES.get(name.slice(0, Math.max(0, name.indexOf('/'))))
  if (reader === undefined) return refuseName(name, at, complaints)
  const body = reader(value, complaints, name)
  return body === undefined ? undefined : { ...body, name, line: at.line, column: at.column }
}

function refuseName(name: string, at: Location, complaints: Complaints): undefined {
  const reason = UNSUPPORTED.get(name) ?? (name.startsWith('ssh_') ? 'no SSH passes through here' : undefined)
  if (reason !== undefined) return complain(complaints, 'ERR_POLICY_UNSUPPORTED', at, `\`${name}\` cannot be decided here: ${reason}.`)
  return complain(complaints, 'ERR_POLICY_UNKNOWN', at, `There is no criterion \`${name}\`.`, suggestName(name))
}

function suggestName(name: string): string | undefined {
  if (Object.hasOwn(OTHER_WORDS, name)) return OTHER_WORDS[name]
  if (PREFIXES.has(name)) return `${name}/NAME`
  const slash = name.indexOf('/')
  const prefix = slash === -1 ? undefined : nearest(name.slice(0, slash), PREFIXES.keys())
  return nearest(name, NAMES) ?? (prefix === undefined ? undefined : `${prefix}${name.slice(slash)}`)
}

function readFlag(value: LocatedValue, flag: Flag, complaints: Complaints): Body | undefined {
  if (value.kind === 'scalar' && (value.value === true || value.value === null)) return { kind: 'flag', flag }
  const opposite = flag === 'accept' ? ' Use `reject: true`.' : flag === 'reject' ? ' Use `accept: true`.' : ' Use `not` for the opposite.'
  const hint = value.kind === 'scalar' && value.value === false ? opposite : ''
  return complain(complaints, 'ERR_POLICY_VALUE', value.at, `\`${flag}\` takes \`true\`, and here is ${inWords(value)}.${hint}`)
}

function readClaim(value: LocatedValue, complaints: Complaints, name: string): Body | undefined {
  const path = name.slice('claim/'.length)
  if (path === '') return complain(complaints, 'ERR_POLICY_VALUE', value.at, '`claim/` must name a claim.', 'claim/role')
  const matcher = readListMatcher(value, `\`${name}\``, complaints)
  return matcher === undefined ? undefined : { kind: 'claim', path, matcher }
}

function readHeader(value: LocatedValue, complaints: Complaints, name: string): Body | undefined {
  const key = name.slice('header/'.length).toLowerCase()
  if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(key)) {
    return complain(complaints, 'ERR_POLICY_VALUE', value.at, `\`${key}\` is not the name of a header (RFC 9110 §5.1).`)
  }
  return readValues(value, complaints, name, 'header', key)
}

function readQuery(value: LocatedValue, complaints: Complaints, name: string): Body | undefined {
  const key = name.slice('query/'.length)
  if (key === '') return complain(complaints, 'ERR_POLICY_VALUE', value.at, '`query/` must name a parameter.', 'query/page')
  return readValues(value, complaints, name, 'query', key)
}

function readValues(value: LocatedValue, complaints: Complaints, name: string, source: 'header' | 'query', key: string): Body | undefined {
  const entry = value.kind === 'map' ? value.entries.find((candidate) => candidate.key === 'present') : undefined
  const present = entry?.value.kind === 'scalar' ? entry.value.value : undefined
  if (entry !== undefined && typeof present !== 'boolean') {
    return complain(
      complaints,
      'ERR_POLICY_VALUE',
      entry.value.at,
      `\`present\` takes \`true\` or \`false\`, and here is ${inWords(entry.value)}.`,
    )
  }
  const matcher = readStringMatcher(value, `\`${name}\``, 'text', complaints, ['present'])
  if (matcher === undefined) return undefined
  if (present === false && matcher.length > 0 && entry !== undefined) {
    return complain(complaints, 'ERR_POLICY_VALUE', entry.keyAt, 'What is absent has no value to compare: write `present: false` alone.')
  }
  return { kind: 'values', source, key, present: typeof present === 'boolean' ? present : undefined, matcher }
}

/** A scalar is a list of one. */
function items(value: LocatedValue, what: string, complaints: Complaints): readonly LocatedValue[] | undefined {
  return value.kind === 'list' ? asList(value, what, complaints)?.items : [value]
}

/** Every item read, or undefined if one is wrong. */
function readAll<T>(values: readonly LocatedValue[] | undefined, read: (value: LocatedValue) => T | undefined): T[] | undefined {
  const results = values?.map(read)
  return results === undefined || results.includes(undefined) ? undefined : results.filter((result) => result !== undefined)
}

function readSourceIp(value: LocatedValue, complaints: Complaints): Body | undefined {
  const networks = readAll(items(value, '`source_ip`', complaints), (item) => {
    const text = asString(item, '`source_ip`', complaints)
    if (text === undefined) return undefined
    const network = parseNetwork(text)
    if (network === undefined) {
      return complain(
        complaints,
        'ERR_POLICY_VALUE',
        item.at,
        `\`${text}\` is no address or network; write \`10.0.0.0/8\`, \`192.0.2.7\` or \`2001:db8::/32\`.`,
      )
    }
    const clean = formatNetwork(networkOf(network))
    if (clean === formatNetwork(network)) return clean
    return complain(complaints, 'ERR_POLICY_VALUE', item.at, `\`${text}\` has bits set behind its prefix.`, clean)
  })
  return networks === undefined ? undefined : { kind: 'source_ip', networks }
}

export function readPortNumber(value: LocatedValue, what: string, complaints: Complaints): number | undefined {
  const port = value.kind === 'scalar' ? value.value : undefined
  if (typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535) return port
  const number = typeof port === 'string' && /^\d{1,5}$/.test(port) ? port : undefined
  return complain(
    complaints,
    'ERR_POLICY_VALUE',
    value.at,
    `${what} must be a number from 1 to 65535, and here is ${inWords(value)}.`,
    number,
  )
}

function readPorts(value: LocatedValue, complaints: Complaints): Body | undefined {
  const ports = readAll(items(value, '`port`', complaints), (item) => readPortNumber(item, '`port`', complaints))
  return ports === undefined ? undefined : { kind: 'port', ports }
}

function readCertificate(value: LocatedValue, complaints: Complaints): Body | undefined {
  if (value.kind !== 'map') {
    const message = `\`client_certificate\` takes a map; write \`{}\` for any certificate, and here is ${inWords(value)}.`
    return complain(complaints, 'ERR_POLICY_SHAPE', value.at, message)
  }
  const known = ['fingerprint', 'spki_hash', 'san_uri', 'san_dns', 'san_email']
  const entries = entriesOf(value, '`client_certificate`', known, complaints)
  const before = complaints.problems.length
  const list = (key: string, read: (item: LocatedValue) => string | undefined): string[] | undefined => {
    const entry = entries.get(key)
    return entry === undefined ? undefined : readAll(items(entry.value, `\`${key}\``, complaints), read)
  }
  const certificate: CertificateMatcher = {
    fingerprints: list('fingerprint', (item) => readFingerprint(item, complaints)),
    spkiHashes: list('spki_hash', (item) => readSpkiHash(item, complaints)),
    sanUri: readSan(entries.get('san_uri')?.value, 'san_uri', complaints),
    sanDns: readSan(entries.get('san_dns')?.value, 'san_dns', complaints),
    sanEmail: readSan(entries.get('san_email')?.value, 'san_email', complaints),
  }
  return entries.size === value.entries.length && complaints.problems.length === before
    ? { kind: 'client_certificate', certificate }
    : undefined
}

/** A list is as if written under `in`. */
function readSan(value: LocatedValue | undefined, key: string, complaints: Complaints): StringMatcher | undefined {
  if (value === undefined) return undefined
  if (value.kind !== 'list') return readStringMatcher(value, `\`${key}\``, 'text', complaints)
  const texts = readAll(items(value, `\`${key}\``, complaints), (item) => asString(item, `An entry of \`${key}\``, complaints))
  return texts === undefined ? undefined : [{ test: 'in', texts }]
}

function readFingerprint(value: LocatedValue, complaints: Complaints): string | undefined {
  const text = asString(value, '`fingerprint`', complaints)
  if (text === undefined) return undefined
  if (/^[0-9a-f]{64}$/.test(text)) return text
  if (/^[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}$/.test(text)) return text.replaceAll(':', '').toLowerCase()
  const suggestion = /^[0-9A-Fa-f]{64}$/.test(text) ? text.toLowerCase() : undefined
  const message = 'A fingerprint is SHA-256 as 64 lower-case hex digits, or as 32 pairs with colons between.'
  return complain(complaints, 'ERR_POLICY_VALUE', value.at, message, suggestion)
}

function readSpkiHash(value: LocatedValue, complaints: Complaints): string | undefined {
  const text = asString(value, '`spki_hash`', complaints)
  if (text === undefined) return undefined
  // 32 bytes leave two bits of the last digit unused, which must be zero for one hash to have one spelling.
  if (/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text)) return text
  return complain(complaints, 'ERR_POLICY_VALUE', value.at, 'An SPKI hash is SHA-256 in base64: 44 characters, of which the last is `=`.')
}
