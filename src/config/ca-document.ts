/** The CA's document (SURFACE §7): its keys, what each takes, and from there to `CaConfig`. Every fault has its place. */
import { dirname } from 'node:path'
import { entryOf, type LocatedValue, type Problem } from '#base/located'
import { type Address, formatAddress, parseAddress, type TcpAddress } from '#base/units'
import { type GapNames, type IdTemplate, parseIdTemplate, RESERVED_SEGMENT } from '#identity/id-template'
import { isTrustDomain, parseSpiffeId } from '#identity/spiffe-id'
import { jwks, readStore, requireClaims, storeReader, tokenReview } from './ca-readers.ts'
import { type AttestConfig, type BundleEndpointConfig, CA_DEFAULTS, type CaConfig, type PodCertificateConfig } from './ca-config.ts'
import { locationOf, overlap } from './listeners.ts'
import { complain, map, named, oneOrMore, optional, type Place, type Reader, required } from './reader.ts'
import { address, filePath, integer, orOff, spiffeId, span, tcpListen, text, word } from './scalars.ts'
import { workloadSockets } from './workload-api-document.ts'

/** An issuer as tokens name it: compared character by character, so it is not normalised. */
const issuer: Reader<string> = text('the issuer that tokens name, such as `https://issuer.example`', /^[^\s\0]{1,2048}$/u)
const audience: Reader<string> = text('the audience that tokens name, such as `postern-ca`', /^[^\0]{1,2048}$/u)
const template: Reader<string> = text('a SPIFFE ID with gaps, such as `spiffe://{trustDomain}/ns/{namespace}/sa/{serviceAccount}`')

const serviceAccountToken = map({
  issuer: optional(issuer),
  jwks: optional(jwks),
  tokenReview: optional(tokenReview),
  audience: required(audience),
  id: optional(template, CA_DEFAULTS.serviceAccountId),
})

const oidc = map({
  issuer: required(issuer),
  jwks: optional(jwks, { kind: 'discovery' }),
  audience: required(audience),
  require: optional(requireClaims, []),
  id: required(template),
})

const attest = map({
  joinToken: optional(map({ max: optional(span('1s', '30d'), CA_DEFAULTS.joinToken.max) })),
  serviceAccountToken: optional(oneOrMore(serviceAccountToken), []),
  oidc: optional(oneOrMore(oidc), []),
  podCertificate: optional(map({ by: required(oneOrMore(spiffeId)), id: optional(template, CA_DEFAULTS.serviceAccountId) })),
})

const keys: Reader<string> = {
  read(value, place) {
    const found = text('where private keys are, such as `file:keys/`').read(value, place)
    if (found === undefined) return undefined
    if (found.startsWith('pkcs11:')) {
      const message = `\`${place.path}\`: keys in a PKCS#11 token are not in this version, as Node's crypto cannot sign with them; give \`file:FOLDER\`.`
      return complain(place, value.at, 'ERR_CONFIG_NOT_YET', message)
    }
    if (!found.startsWith('file:')) {
      const message = `\`${place.path}\` must be \`file:\` and a folder, not \`${found}\`.`
      return complain(place, value.at, 'ERR_CONFIG_VALUE', message, /^[a-z][\w+.-]+:/i.test(found) ? undefined : `file:${found}`)
    }
    const folder = found.slice('file:'.length).replace(/^\/\/(?=\/)/, '')
    return filePath.read({ kind: 'scalar', value: folder, at: value.at }, place)
  },
}

/** Without wildcards: whoever holds such a certificate is that one name. */
const dnsName: Reader<string> = text(
  'a DNS name',
  /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*$/,
)

function notAnId(name: string): string | undefined {
  const parsed = parseSpiffeId(name)
  return parsed.ok ? undefined : `\`${name}\` is no SPIFFE ID`
}

const spec = map({
  trustDomain: required(text('a trust domain’s name, such as `example.org`')),
  listen: optional(tcpListen),
  health: optional(orOff(address())),
  store: required(storeReader),
  keys: required(keys),
  authority: optional(filePath),
  svid: optional(
    map({
      x509: optional(span('1s', '90d'), CA_DEFAULTS.svid.x509),
      jwt: optional(span('1s', '1d'), CA_DEFAULTS.svid.jwt),
      max: optional(span('1s', '90d'), CA_DEFAULTS.svid.max),
      dnsNames: optional(named(oneOrMore(dnsName), notAnId), []),
    }),
    { ...CA_DEFAULTS.svid, dnsNames: [] },
  ),
  attest: required(attest),
  limits: optional(
    map({
      issuancesPerMinute: optional(integer(1, 1_000_000), CA_DEFAULTS.limits.issuancesPerMinute),
      burst: optional(integer(1, 1_000_000), CA_DEFAULTS.limits.burst),
      inFlight: optional(integer(1, 100_000), CA_DEFAULTS.limits.inFlight),
      connections: optional(integer(1, 1_000_000), CA_DEFAULTS.limits.connections),
    }),
    CA_DEFAULTS.limits,
  ),
  refreshHint: optional(span('1s', '7d'), CA_DEFAULTS.refreshHint),
  poll: optional(span('100ms', '1h'), CA_DEFAULTS.poll),
  bundleEndpoint: optional(
    map({
      listen: required(tcpListen),
      profile: required(word(['https_web', 'https_spiffe'])),
      certificate: optional(filePath),
      key: optional(filePath),
    }),
  ),
  workloadApi: optional(workloadSockets),
})

/** The whole document as a reader: its keys are what docs/ca-configuration.md documents. */
export const caReader = map({
  apiVersion: required(word(['postern.dev/v1'])),
  kind: required(word(['CertificateAuthority'])),
  metadata: optional(map({ name: optional(text('a name', /^[^\s/\0]{1,253}$/u)) })),
  spec: required(spec),
})

type Read<R> = R extends Reader<infer T> ? T : never
type Spec = Read<typeof spec>

export interface CaDocument {
  /** Undefined if there is an error among the problems. */
  readonly config: CaConfig | undefined
  readonly problems: Problem[]
}

export interface CaDocumentOptions {
  /** Absolute path of the document: relative paths in it are relative to its folder. */
  readonly file: string
}

/** Reads a document of kind CertificateAuthority and reports all its faults at once. */
export function readCaDocument(value: LocatedValue, { file }: CaDocumentOptions): CaDocument {
  const place: Place = { path: '', folder: dirname(file), problems: [] }
  const mistaken = kindProblem(value)
  if (mistaken !== undefined) return { config: undefined, problems: [mistaken] }
  const read = caReader.read(value, place)
  const config = read === undefined ? undefined : toConfig(read.spec, { value, file, place })
  return { config: place.problems.length === 0 ? config : undefined, problems: place.problems }
}

/** One clear sentence instead of a complaint about every key of another kind of document. */
function kindProblem(value: LocatedValue): Problem | undefined {
  const kind = value.kind === 'map' ? entryOf(value, 'kind')?.value : undefined
  if (kind?.kind !== 'scalar' || (kind.value !== 'Sidecar' && kind.value !== 'Policy')) return undefined
  const hint = kind.value === 'Sidecar' ? 'run it with `postern sidecar`' : 'name its file under `spec.policies` of a Sidecar'
  const message = `This is a document of kind ${kind.value}, not CertificateAuthority; ${hint}.`
  return { severity: 'error', code: 'ERR_CONFIG_VALUE', message, at: kind.at }
}

/** What the checks of the document as a whole need: to say where, and to complain. */
interface Whole {
  readonly value: LocatedValue
  readonly file: string
  readonly place: Place
}

type Path = readonly (string | number)[]

function complainAt({ value, place }: Whole, path: Path, code: Problem['code'], message: string, suggestion?: string): undefined {
  return complain(place, locationOf(value, path), code, `\`${nameOf(path)}\`: ${message}.`, suggestion)
}

function nameOf(path: Path): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('')
}

function toConfig(read: Spec, whole: Whole): CaConfig | undefined {
  const { trustDomain } = read
  if (!isTrustDomain(trustDomain)) {
    const lower = trustDomain.toLowerCase()
    const rule = '1 to 255 lower-case letters, digits, dots, dashes and underscores'
    return complainAt(whole, ['spec', 'trustDomain'], 'ERR_CONFIG_VALUE', `it must be ${rule}`, isTrustDomain(lower) ? lower : undefined)
  }
  checkLives(read, whole)
  const attest = toAttest(read, whole)
  const bundleEndpoint = toBundleEndpoint(read, whole)
  const store = readStore(read.store, { place: whole.place, at: (...path) => locationOf(whole.value, ['spec', 'store', ...path]) })
  const listen = read.listen ?? defaultTcp(CA_DEFAULTS.listen)
  const health = read.health === 'off' ? undefined : (read.health ?? defaultTcp(CA_DEFAULTS.health))
  checkAddresses({ listen, health, bundleEndpoint }, whole)
  checkSockets(read, whole)
  if (store === undefined || attest === undefined) return undefined
  const keys: CaConfig['keys'] = { kind: 'file', folder: read.keys }
  const { svid, limits, refreshHint, poll } = read
  const { dnsNames, ...spans } = svid
  const lives = dnsNames.length === 0 ? spans : { ...spans, dnsNames: new Map(dnsNames) }
  return {
    file: whole.file,
    trustDomain,
    listen,
    health,
    store,
    keys,
    svid: lives,
    ...(read.authority !== undefined && { authority: read.authority }),
    attest,
    limits,
    refreshHint,
    poll,
    bundleEndpoint,
    ...(read.workloadApi !== undefined && { workloadApi: read.workloadApi }),
  }
}

/** Each socket is one identity, of the trust domain, and none of Postern's own. */
function checkSockets({ trustDomain, workloadApi = [] }: Spec, whole: Whole): void {
  for (const [index, { id, listen }] of workloadApi.entries()) {
    const path = isListAt(whole.value, ['spec', 'workloadApi']) ? ['spec', 'workloadApi', index] : ['spec', 'workloadApi']
    if (id.trustDomain !== trustDomain) {
      complainAt(whole, [...path, 'id'], 'ERR_CONFIG_VALUE', `\`${id.uri}\` is not of ${trustDomain}`)
    }
    if (`${id.path}/`.startsWith(`/${RESERVED_SEGMENT}/`)) {
      complainAt(whole, [...path, 'id'], 'ERR_CONFIG_VALUE', `IDs below \`/${RESERVED_SEGMENT}\` are those of Postern itself`)
    }
    if (workloadApi.findIndex((other) => other.listen.path === listen.path) < index) {
      complainAt(whole, [...path, 'listen'], 'ERR_CONFIG_VALUE', 'an entry before has this socket: whoever opens it is one workload')
    }
  }
}

function defaultTcp(address: string): TcpAddress {
  const parsed = parseAddress(address)
  if (parsed?.kind !== 'tcp') throw new TypeError(`The default address ${address} is none.`)
  return parsed
}

function checkLives({ svid, refreshHint }: Spec, whole: Whole): void {
  for (const kind of ['x509', 'jwt'] as const) {
    if (svid[kind] > svid.max) complainAt(whole, ['spec', 'svid', kind], 'ERR_CONFIG_VALUE', 'it is longer than `spec.svid.max`')
  }
  if (refreshHint % 1000 !== 0) complainAt(whole, ['spec', 'refreshHint'], 'ERR_CONFIG_VALUE', 'a bundle can only say whole seconds')
}

function toAttest({ attest, trustDomain, workloadApi }: Spec, whole: Whole): AttestConfig | undefined {
  const { joinToken } = attest
  if (joinToken === undefined && attest.serviceAccountToken.length === 0 && attest.oidc.length === 0 && workloadApi === undefined) {
    return complainAt(
      whole,
      ['spec', 'attest'],
      'ERR_CONFIG_MISSING_KEY',
      'without `joinToken`, `serviceAccountToken` or `oidc`, or `spec.workloadApi`, nobody can get a first identity',
    )
  }
  const before = whole.place.problems.length
  const readId = (text: string, known: GapNames, path: Path): IdTemplate | undefined => {
    const parsed = parseIdTemplate(text, trustDomain, known)
    if (parsed.ok) return parsed.value
    return complainAt(whole, path, 'ERR_CONFIG_VALUE', `\`${text}\` makes no SPIFFE ID: ${parsed.fault}`, parsed.suggestion)
  }
  const listed = (key: 'serviceAccountToken' | 'oidc', index: number): Path => {
    const path = ['spec', 'attest', key]
    return isListAt(whole.value, path) ? [...path, index] : path
  }
  const serviceAccountToken = attest.serviceAccountToken.flatMap((entry, index) => {
    const path = listed('serviceAccountToken', index)
    const verifiedBy = entry.jwks ?? entry.tokenReview
    if (verifiedBy === undefined || (entry.jwks !== undefined && entry.tokenReview !== undefined)) {
      complainAt(
        whole,
        path,
        'ERR_CONFIG_MISSING_KEY',
        'say how tokens are verified: either `tokenReview: {}` (asks the API server) or `jwks` (offline)',
      )
    }
    if (entry.jwks !== undefined && entry.issuer === undefined)
      complainAt(whole, path, 'ERR_CONFIG_MISSING_KEY', '`issuer` is missing: with `jwks` it says whose tokens are meant')
    const id = readId(entry.id, { names: ['namespace', 'serviceAccount'] }, [...path, 'id'])
    checkAccountGaps(id, path, whole)
    return id === undefined || verifiedBy === undefined ? [] : [{ issuer: entry.issuer, verifiedBy, audience: entry.audience, id }]
  })
  const oidc = attest.oidc.flatMap((entry, index) => {
    const path = listed('oidc', index)
    const id = readId(entry.id, { names: [], prefix: 'claims.' }, [...path, 'id'])
    if (id?.gaps.length === 0 && entry.require.length === 0) {
      complainAt(
        whole,
        [...path, 'id'],
        'ERR_CONFIG_UNSAFE',
        'whoever has a token of the issuer would get this identity; name a claim in it, such as `{claims.sub}`, or give `require`',
      )
    }
    return id === undefined ? [] : [{ ...entry, id }]
  })
  const podCertificate = toPodCertificate(attest.podCertificate, readId, trustDomain, whole)
  if (whole.place.problems.length > before) return undefined
  return { joinToken, serviceAccountToken, oidc, ...(podCertificate !== undefined && { podCertificate }) }
}

function toPodCertificate(
  read: Spec['attest']['podCertificate'],
  readId: (text: string, known: GapNames, path: Path) => IdTemplate | undefined,
  trustDomain: string,
  whole: Whole,
): PodCertificateConfig | undefined {
  if (read === undefined) return undefined
  const path = ['spec', 'attest', 'podCertificate']
  const id = readId(read.id, { names: ['namespace', 'serviceAccount'] }, [...path, 'id'])
  checkAccountGaps(id, path, whole)
  const foreign = read.by.find((one) => one.trustDomain !== trustDomain)
  if (foreign !== undefined) {
    return complainAt(
      whole,
      [...path, 'by'],
      'ERR_CONFIG_UNSAFE',
      `\`${foreign.uri}\` is of another trust domain, and would say who is who in this one`,
    )
  }
  return id === undefined ? undefined : { by: read.by.map(({ uri }) => uri), id }
}

function checkAccountGaps(id: IdTemplate | undefined, path: Path, whole: Whole): void {
  for (const gap of id === undefined ? [] : ['namespace', 'serviceAccount']) {
    if (id?.gaps.includes(gap) === true) continue
    const message = `without \`{${gap}}\` different service accounts would get the same identity`
    complainAt(whole, [...path, 'id'], 'ERR_CONFIG_UNSAFE', message)
  }
}

function isListAt(value: LocatedValue, path: readonly string[]): boolean {
  let found: LocatedValue | undefined = value
  for (const key of path) found = found?.kind === 'map' ? entryOf(found, key)?.value : undefined
  return found?.kind === 'list'
}

function toBundleEndpoint({ bundleEndpoint: read }: Spec, whole: Whole): BundleEndpointConfig | undefined {
  if (read === undefined) return undefined
  const { listen, profile, certificate, key } = read
  const path = ['spec', 'bundleEndpoint']
  if (profile === 'https_spiffe') {
    const extra = certificate !== undefined ? 'certificate' : key !== undefined ? 'key' : undefined
    if (extra !== undefined)
      complainAt(whole, [...path, extra], 'ERR_CONFIG_VALUE', 'with `https_spiffe` the CA’s own SVID serves; remove it, or use `https_web`')
    return { listen, profile, files: undefined }
  }
  if (certificate !== undefined && key !== undefined) return { listen, profile, files: { certificate, key } }
  return complainAt(whole, path, 'ERR_CONFIG_MISSING_KEY', '`https_web` takes a `certificate` and a `key` that public roots vouch for')
}

/** Two listeners cannot bind one address. */
function checkAddresses({ listen, health, bundleEndpoint }: Pick<CaConfig, 'listen' | 'health' | 'bundleEndpoint'>, whole: Whole): void {
  const taken: { readonly path: Path; readonly address: Address }[] = [{ path: ['spec', 'listen'], address: listen }]
  const add = (path: Path, address: Address): void => {
    const first = taken.find((other) => overlap(other.address, address))
    if (first !== undefined)
      complainAt(whole, path, 'ERR_CONFIG_VALUE', `it is \`${formatAddress(address)}\`, where \`${nameOf(first.path)}\` listens already`)
    taken.push({ path, address })
  }
  if (health !== undefined) add(['spec', 'health'], health)
  if (bundleEndpoint !== undefined) add(['spec', 'bundleEndpoint', 'listen'], bundleEndpoint.listen)
}
