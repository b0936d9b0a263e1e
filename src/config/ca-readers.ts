/** Readers of the CA's document that are worth a place of their own: the store, key sets, TokenReview, required claims. */
import type { Location } from '#base/located'
import { isLoopback } from '#base/units'
import { CA_DEFAULTS, type JwksConfig, type OidcConfig, type StoreConfig, type TokenReviewConfig } from './ca-config.ts'
import { complain, map, named, oneOrMore, optional, type Place, type Reader, refuseValue, required } from './reader.ts'
import { filePath, span, text, word } from './scalars.ts'

/** An `https:` URL; `http:` only to this host, where nobody can change what arrives. */
export const httpsUrl: Reader<string> = {
  read(value, place) {
    const found = text('an https:// URL').read(value, place)
    if (found === undefined) return undefined
    const url = URL.parse(found)
    if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return refuseValue(place, value, 'an https:// URL')
    if (url.username !== '' || url.password !== '') return refuseValue(place, value, 'a URL without a user or password')
    if (url.protocol === 'https:' || isLoopback({ kind: 'tcp', host: url.hostname.replace(/^\[|\]$/g, ''), port: 0 })) return found
    const message = `\`${place.path}\` must be \`https:\`: keys that arrive in the clear could be anyone's.`
    return complain(place, value.at, 'ERR_CONFIG_UNSAFE', message, found.replace(/^http:/, 'https:'))
  },
}

const jwksKeys = map({ file: optional(filePath), url: optional(httpsUrl), ca: optional(filePath), token: optional(filePath) })

/** `{ file }`, or `{ url, ca, token }`. */
export const jwks: Reader<JwksConfig> = {
  ...(jwksKeys.fields !== undefined && { fields: jwksKeys.fields }),
  read(value, place) {
    const read = jwksKeys.read(value, place)
    if (read === undefined) return undefined
    const { file, url, ca, token } = read
    if (file !== undefined && url === undefined && ca === undefined && token === undefined) return { kind: 'file', file }
    if (url !== undefined && file === undefined) return { kind: 'url', url, ca, token }
    const message = `\`${place.path}\` takes either \`file\`, or \`url\` with \`ca\` and \`token\` where they are needed.`
    return complain(place, value.at, file === undefined ? 'ERR_CONFIG_MISSING_KEY' : 'ERR_CONFIG_VALUE', message)
  },
}

const tokenReviewKeys = map({
  server: optional(httpsUrl, CA_DEFAULTS.kubernetes.server),
  token: optional(filePath, CA_DEFAULTS.kubernetes.token),
  ca: optional(filePath, CA_DEFAULTS.kubernetes.ca),
})

export const tokenReview: Reader<TokenReviewConfig> = {
  ...(tokenReviewKeys.fields !== undefined && { fields: tokenReviewKeys.fields }),
  read(value, place) {
    const read = tokenReviewKeys.read(value, place)
    return read === undefined ? undefined : { kind: 'tokenReview', ...read }
  },
}

const claimNames = named(oneOrMore(text('a string that the claim must be')), (name) =>
  name.split('.').includes('') ? `\`${name}\` is no path of a claim, such as \`sub\` or \`a.b\`` : undefined,
)

export const requireClaims: Reader<OidcConfig['require']> = {
  ...(claimNames.item !== undefined && { item: claimNames.item }),
  itemPath: '.*',
  read: (value, place) => claimNames.read(value, place)?.map(([claim, values]) => ({ claim, values })),
}

const postgres = map({
  url: required(text('a URL such as `postgres://postern@db.internal/postern`')),
  password: optional(map({ file: required(filePath) })),
  tls: optional(word(['verify', 'off'])),
  ca: optional(filePath),
})

export const storeReader = map({
  sqlite: optional(filePath),
  postgres: optional(postgres),
  keep: optional(span('0s', '3650d'), CA_DEFAULTS.keep),
})

type Read<R> = R extends Reader<infer T> ? T : never

interface Context {
  readonly place: Place
  /** Where a key below `spec.store` stands. */
  readonly at: (...path: readonly string[]) => Location
}

/** Exactly one store, and a PostgreSQL that nobody on the way can read or pose as. */
export function readStore({ sqlite, postgres, keep }: Read<typeof storeReader>, { place, at }: Context): StoreConfig | undefined {
  if (sqlite !== undefined && postgres === undefined) return { kind: 'sqlite', file: sqlite, keep }
  if (postgres === undefined || sqlite !== undefined) {
    const message = '`spec.store` takes exactly one of `sqlite` (one replica) and `postgres` (several).'
    return complain(place, at(), 'ERR_CONFIG_MISSING_KEY', message)
  }
  const where = at('postgres', 'url')
  const { url, password, tls, ca } = postgres
  const parsed = URL.parse(url)
  if (parsed === null || (parsed.protocol !== 'postgres:' && parsed.protocol !== 'postgresql:')) {
    return complain(
      place,
      where,
      'ERR_CONFIG_VALUE',
      '`spec.store.postgres.url` must be a URL such as `postgres://postern@db.internal/postern`.',
    )
  }
  // The text is not repeated: what stands there may be a secret.
  if (parsed.password !== '' || parsed.searchParams.has('password')) {
    const message =
      '`spec.store.postgres.url` holds a password, and this document is no place for it; put it into a file and give `password: { file: … }`.'
    return complain(place, where, 'ERR_CONFIG_UNSAFE', message)
  }
  const unknown = [...parsed.searchParams.keys()].find((name) => name !== 'host')
  if (unknown !== undefined) {
    const hint = unknown.startsWith('ssl')
      ? '`tls` and `ca` beside it say how the server is verified'
      : 'only `host`, the folder of a Unix socket, is taken'
    return complain(place, where, 'ERR_CONFIG_VALUE', `\`spec.store.postgres.url\` has the parameter \`${unknown}\`; ${hint}.`)
  }
  const host = parsed.searchParams.get('host') ?? decodeURIComponent(parsed.hostname)
  const local = host === '' || host.startsWith('/') || isLoopback({ kind: 'tcp', host: host.replace(/^\[|\]$/g, ''), port: 0 })
  if (tls === 'off' && ca !== undefined)
    return complain(place, at('postgres', 'ca'), 'ERR_CONFIG_VALUE', '`spec.store.postgres.ca` has no use with `tls: off`.')
  const verified = tls ?? (local && ca === undefined ? 'off' : 'verify')
  return { kind: 'postgres', url, passwordFile: password?.file, tls: verified, ca, keep }
}
