/** `spec.tokens` of the sidecar's document: the issuers whose bearer tokens are understood, and where their keys come from. */
import { TOKEN_KINDS } from '#token/principal'
import { urlFault } from '#token/addresses'
import { CA_DEFAULTS } from './ca-config.ts'
import { httpsUrl } from './ca-readers.ts'
import { complain, list, map, oneOrMore, optional, type Reader, required } from './reader.ts'
import { filePath, flag, span, text, trustDomainName, word } from './scalars.ts'
import { DEFAULTS, type TokenIssuerConfig } from './sidecar-config.ts'

const { kubernetes } = CA_DEFAULTS

const entry = map({
  // It goes into a header before a `|`, and is compared letter by letter.
  issuer: required(text('the `iss` of its tokens, without spaces and `|`', /^[\x21-\x7b\x7d\x7e]{1,2048}$/)),
  audiences: required(oneOrMore(text('an audience', /^[^\0]{1,2048}$/u))),
  kind: required(word(TOKEN_KINDS)),
  trustDomain: optional(trustDomainName),
  jwks: optional(
    map({
      file: optional(filePath),
      url: optional(text('an https URL', /^https?:\/\/\S{1,2048}$/)),
      ca: optional(filePath),
      tokenFile: optional(filePath),
      refresh: optional(span('10s', '1d'), DEFAULTS.jwks.refresh),
      keep: optional(span('1m', '7d'), DEFAULTS.jwks.keep),
    }),
    { file: undefined, url: undefined, ca: undefined, tokenFile: undefined, ...DEFAULTS.jwks },
  ),
  review: optional(
    map({
      server: optional(httpsUrl, kubernetes.server),
      token: optional(filePath, kubernetes.token),
      ca: optional(filePath, kubernetes.ca),
      refresh: optional(span('1s', '5m'), DEFAULTS.review.refresh),
      keep: optional(span('1s', '1h'), DEFAULTS.review.keep),
    }),
  ),
  forwardToken: optional(flag, false),
})

type Entry = typeof entry extends Reader<infer T> ? T : never

const tokenIssuer: Reader<TokenIssuerConfig> = {
  ...entry,
  read(value, place) {
    const read = entry.read(value, place)
    if (read === undefined) return undefined
    const wrong = entryFault(read)
    if (wrong !== undefined) return complain(place, value.at, 'ERR_CONFIG_VALUE', `\`${place.path}\`: ${wrong}.`)
    const { trustDomain = read.issuer.startsWith(SPIFFE) ? read.issuer.slice(SPIFFE.length) : undefined, ...rest } = read
    return { ...rest, trustDomain }
  },
}

const issuers = list(tokenIssuer)

/** Which of two entries rules the tokens of an issuer would be a guess: each issuer has one. */
export const tokenIssuers: Reader<readonly TokenIssuerConfig[]> = {
  ...issuers,
  read(value, place) {
    const read = issuers.read(value, place)
    const twice = read?.findIndex(({ issuer }, index) => read.findIndex((other) => other.issuer === issuer) < index) ?? -1
    if (twice === -1) return read
    const at = value.kind === 'list' ? (value.items[twice]?.at ?? value.at) : value.at
    return complain(place, at, 'ERR_CONFIG_VALUE', `\`${place.path}[${twice}]\` is of an issuer that has an entry already.`)
  },
}

const SPIFFE = 'spiffe://'

function entryFault({ issuer, kind, trustDomain, jwks, review }: Entry): string | undefined {
  const fetched = jwks.file === undefined
  if (!fetched && jwks.url !== undefined) return '`jwks` has both `file` and `url`; give one of them'
  if (!fetched && (jwks.ca !== undefined || jwks.tokenFile !== undefined))
    return '`jwks.ca` and `jwks.tokenFile` are for keys that are fetched'
  if (review !== undefined && kind !== 'serviceAccount')
    return '`review` asks Kubernetes, which knows tokens of kind `serviceAccount` alone'
  if (review !== undefined && review.keep < review.refresh) return '`review.keep` is shorter than `review.refresh`'
  if (kind === 'oidc' && trustDomain !== undefined) return 'users of an OpenID Connect issuer are of no trust domain; remove `trustDomain`'
  if (issuer.startsWith(SPIFFE)) {
    if (kind !== 'jwtSvid') return 'an issuer `spiffe://…` is of kind `jwtSvid`'
    if (!/^spiffe:\/\/[a-z0-9._-]{1,255}$/.test(issuer)) return 'as `issuer` give `spiffe://` and the name of the trust domain alone'
    if (trustDomain !== undefined && issuer !== `${SPIFFE}${trustDomain}`) return '`trustDomain` is another than the one of `issuer`'
    if (fetched && jwks.url === undefined) return 'a trust domain has no discovery: give `jwks.file` (its SPIFFE bundle) or `jwks.url`'
  } else if (kind === 'jwtSvid' && trustDomain === undefined) {
    return 'of kind `jwtSvid`, give the `trustDomain` whose workloads the tokens are about, or `spiffe://TRUST-DOMAIN` as `issuer`'
  }
  if (!fetched) return undefined
  const fault = urlFault(jwks.url ?? issuer)
  if (fault === undefined) return undefined
  return jwks.url === undefined
    ? `without \`jwks\` the keys are found by discovery from the issuer, and of \`${issuer}\` ${fault}; give \`jwks.file\` or \`jwks.url\``
    : `of \`jwks.url\` ${fault}: keys come over https, or over http from loopback`
}
