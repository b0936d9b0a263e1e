/** Bundle endpoints in the sidecar's document: SPIFFE Federation §5, both profiles. */
import { entryOf, type LocatedValue, type Problem } from '#base/located'
import type { SpiffeId } from '#identity/spiffe-id'
import { complain, map, optional, type Place, type Reader, refuseValue, required } from './reader.ts'
import { filePath, spiffeId, text, word } from './scalars.ts'
import type { SidecarConfig } from './sidecar-config.ts'

type Endpoint = { readonly url: string; readonly bundle: string | undefined } & (
  | { readonly profile: 'https_web'; readonly ca: string | undefined }
  | { readonly profile: 'https_spiffe'; readonly spiffeId: SpiffeId }
)

/** §5.1: https, and nothing of user and password in it. */
const url: Reader<string> = {
  read(value, place) {
    const found = text('a URL').read(value, place)
    if (found === undefined) return undefined
    const parsed = URL.parse(found)
    const isGood = parsed?.protocol === 'https:' && parsed.username === '' && parsed.password === '' && parsed.hash === ''
    return isGood ? found : refuseValue(place, value, 'an https URL without user, password and fragment')
  },
}

const shape = map({
  url: required(url),
  profile: required(word(['https_web', 'https_spiffe'])),
  spiffeId: optional(spiffeId),
  bundle: optional(filePath),
  ca: optional(filePath),
})

export const bundleEndpoint: Reader<Endpoint> = {
  ...(shape.fields === undefined ? {} : { fields: shape.fields }),
  read(value, place) {
    const read = shape.read(value, place)
    if (read === undefined) return undefined
    const { profile, spiffeId: id, ca, ...rest } = read
    if (profile === 'https_web') {
      return id === undefined ? { ...rest, profile, ca } : misplaced(value, place, 'spiffeId', 'https_spiffe')
    }
    if (ca !== undefined) return misplaced(value, place, 'ca', 'https_web')
    if (id !== undefined) return { ...rest, profile, spiffeId: id }
    return complain(
      place,
      value.at,
      'ERR_CONFIG_MISSING_KEY',
      `\`${place.path}\` of profile https_spiffe needs \`spiffeId\`: who answers there.`,
    )
  },
}

function misplaced(value: LocatedValue, place: Place, key: string, profile: string): undefined {
  const at = (value.kind === 'map' ? entryOf(value, key)?.keyAt : undefined) ?? value.at
  return complain(place, at, 'ERR_CONFIG_VALUE', `\`${place.path}.${key}\` belongs to profile ${profile}.`)
}

/** An endpoint that shows an SVID of the trust domain that it speaks for needs another start than itself. */
export function checkEndpoints({ federationEndpoints }: SidecarConfig, document: LocatedValue, problems: Problem[]): void {
  for (const { trustDomain, bundle, ...endpoint } of federationEndpoints) {
    if (endpoint.profile !== 'https_spiffe' || bundle !== undefined || endpoint.spiffeId.trustDomain !== trustDomain) continue
    problems.push({
      severity: 'error',
      code: 'ERR_CONFIG_MISSING_KEY',
      message: `\`spec.federation.${trustDomain}.endpoint\` needs \`bundle\`: what ${endpoint.spiffeId.uri} is verified with the first time.`,
      at: document.at,
    })
  }
}
