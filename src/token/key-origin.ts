/** Where the keys of an issuer come from: a file, an address, or the address that the issuer's discovery document names (OpenID Connect Discovery §4). */
import { open, stat } from 'node:fs/promises'
import { ok, refusal, type Result } from '#base/result'
import { readJsonObject } from './bounded-json.ts'
import { urlFault } from './addresses.ts'
import { fetchDocument, type FetchOptions } from './fetch-document.ts'
import { LONGEST_DOCUMENT } from './key-set.ts'

export interface KeyOrigin {
  /** Absolute path or URL, for people. */
  readonly name: string
  /** On this host: it is there at start, or never will be. */
  readonly isLocal: boolean
  /** Ms between two looks. */
  readonly interval: number
  /** Ms after a look in which tokens of unknown keys cause no other. */
  readonly cooldown: number
  /** The text of a JWK Set. Refused with an `ERR_JWKS_…`. */
  load(): Promise<Result<string>>
}

/** A small file: it is read again every second, which costs less than to miss a change. */
const FILE_INTERVAL = 1000
const FILE_COOLDOWN = 100
const URL_COOLDOWN = 10_000

export function fileOrigin(path: string): KeyOrigin {
  return { name: path, isLocal: true, interval: FILE_INTERVAL, cooldown: FILE_COOLDOWN, load: () => readBounded(path) }
}

/** @param interval ms */
export function urlOrigin(url: string, interval: number, options: FetchOptions): KeyOrigin {
  return { name: url, isLocal: false, interval, cooldown: URL_COOLDOWN, load: () => fetchDocument(url, options) }
}

/** @param interval ms */
export function discoveryOrigin(issuer: string, interval: number, options: FetchOptions): KeyOrigin {
  const name = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  return {
    name,
    isLocal: false,
    interval,
    cooldown: URL_COOLDOWN,
    async load() {
      const text = await fetchDocument(name, options)
      if (!text.ok) return text
      const address = readDiscovery(text.value, issuer)
      if (!address.ok) return address
      // A credential for the issuer is not for another server that it names.
      const sameOrigin = new URL(address.value).origin === new URL(name).origin
      return fetchDocument(address.value, sameOrigin ? options : { ...options, tokenFile: undefined })
    },
  }
}

/** @returns the address of the keys */
function readDiscovery(text: string, issuer: string): Result<string> {
  const document = readJsonObject(text)
  if (typeof document === 'string') return refusal('ERR_JWKS_DISCOVERY', `the discovery document is ${document}`)
  const { issuer: stated, jwks_uri: address } = document
  // §4.3: else one issuer could speak for another.
  if (stated !== issuer)
    return refusal('ERR_JWKS_DISCOVERY', `the discovery document is of the issuer ${JSON.stringify(stated)?.slice(0, 200)}`)
  if (typeof address !== 'string') return refusal('ERR_JWKS_DISCOVERY', 'the discovery document names no `jwks_uri`')
  const fault = urlFault(address)
  return fault === undefined ? ok(address) : refusal('ERR_JWKS_ADDRESS', `\`jwks_uri\` is ${address.slice(0, 200)}: ${fault}`)
}

async function readBounded(path: string): Promise<Result<string>> {
  try {
    // Opening a FIFO would wait for its writer.
    if (!(await stat(path)).isFile()) return refusal('ERR_JWKS_FILE', `${path} is not a file`)
    await using file = await open(path)
    const { size } = await file.stat()
    if (size > LONGEST_DOCUMENT) return refusal('ERR_JWKS_TOO_LARGE', `${path} has ${size} bytes`)
    return ok(await file.readFile('utf8'))
  } catch (error) {
    return refusal('ERR_JWKS_FILE', error instanceof Error ? error.message : String(error))
  }
}
