/**
 * The bundle of another trust domain from its bundle endpoint (SPIFFE Federation §5), asked again as often as the bundle says. What cannot be
 * had, is malformed or is older than what is in force changes nothing, and shows in the status.
 */
import { readFile } from 'node:fs/promises'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Agent, type buildConnector, request } from 'undici'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import { decodeUtf8, digestOf } from '#config/files'
import { oneAtATime } from '#config/one-at-a-time'
import type { FederationEndpointConfig } from '#config/sidecar-config'
import type { InputStatus } from '#config/snapshot'
import { type Bundle, readBundle } from '#pki/bundle'
import { newerBundle } from '#pki/newer-bundle'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { clientTlsOptions } from '#pki/tls-options'
import { createTrustStore } from '#pki/trust-store'
import { guardedLookup } from '#token/addresses'

export interface FederationEndpoint {
  /** The last good version, the one to begin with included; undefined before the first. */
  readonly current: Bundle | undefined
  /** Asks now. Never rejects. */
  reload(): Promise<void>
  status(): InputStatus
  close(): void
}

export interface FederationEndpointOptions {
  readonly config: FederationEndpointConfig
  /** What the endpoint's own certificate is verified against, where its SPIFFE ID is of another trust domain than the bundle. */
  readonly bundleOf: (trustDomain: string) => Bundle | undefined
  /** Throws what keeps a bundle from standing beside all others. */
  readonly accept: (bundle: Bundle) => void
  readonly onChange: () => void
  readonly clock: Clock
  /** [0, 1), for jitter. */
  readonly random: () => number
  readonly observe?: ((trustDomain: string, result: 'ok' | ReasonCode) => void) | undefined
}

/** Ms: where the bundle does not say (§4.1), and the bounds of what it says. */
const DEFAULT_REFRESH = 300_000
const SHORTEST_REFRESH = 1_000
const LONGEST_REFRESH = 86_400_000
/** A whole answer, ms and bytes. */
const DEADLINE = 10_000
const LONGEST_ANSWER = 1024 * 1024

/** Begins with the bundle that the document names, if it names one, and asks at once. @throws what is wrong with that bundle */
export async function createFederationEndpoint(options: FederationEndpointOptions): Promise<FederationEndpoint> {
  const { config, clock, random, observe } = options
  const { trustDomain, url } = config
  let current = config.bundle === undefined ? undefined : readBundle(await readFile(config.bundle, 'utf8'), trustDomain, config.bundle)
  let digest: string | undefined
  let appliedAt = current === undefined ? undefined : clock.now()
  let failure: { readonly error: string; readonly at: number } | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false

  /** Throws where there is nothing good and new to take. */
  async function refresh(): Promise<void> {
    const content = await fetchBundle()
    const text = decodeUtf8(content)
    if (text === undefined || !/^\s*\{/.test(text)) throw endpointError(config, 'it answers with something that is no SPIFFE bundle')
    const found = digestOf(content)
    if (found === digest) return
    const next = newerBundle(readBundle(text, trustDomain, url), current, url)
    options.accept(next)
    if (closed) return
    current = next
    digest = found
    appliedAt = clock.now()
    options.onChange()
  }

  async function fetchBundle(): Promise<Buffer> {
    const agent = new Agent({
      connect: await connector(),
      headersTimeout: DEADLINE,
      bodyTimeout: DEADLINE,
      maxResponseSize: LONGEST_ANSWER,
    })
    try {
      // Redirects are not followed: whoever is named in the document is who is asked.
      const { statusCode, headers, body } = await request(url, {
        dispatcher: agent,
        signal: AbortSignal.timeout(DEADLINE),
        headers: { accept: 'application/json', 'accept-encoding': 'identity' },
      })
      if (statusCode !== 200) {
        const where = headers['location'] === undefined ? '' : ', a redirect, which is not followed'
        throw endpointError(config, `it answers ${statusCode}${where}`)
      }
      return Buffer.from(await body.arrayBuffer())
    } catch (error) {
      throw error instanceof PosternError ? error : endpointError(config, causeOf(error), error)
    } finally {
      void agent.destroy()
    }
  }

  async function connector(): Promise<buildConnector.BuildOptions | buildConnector.connector> {
    if (config.profile === 'https_spiffe') return connectSpiffe
    const ca = config.ca === undefined ? undefined : await readFile(config.ca, 'utf8')
    return { lookup: guardedLookup, timeout: DEADLINE, ...(ca === undefined ? {} : { ca }) }
  }

  /** Verified by the bundle of the trust domain that its SPIFFE ID is in, and by nothing else (§5.2.2). */
  function connectSpiffe(target: buildConnector.Options, done: buildConnector.Callback): void {
    const id = config.profile === 'https_spiffe' ? config.spiffeId : undefined
    const bundle = id === undefined ? undefined : id.trustDomain === trustDomain ? current : options.bundleOf(id.trustDomain)
    if (id === undefined || bundle === undefined)
      return done(endpointError(config, 'there is no bundle yet to verify its certificate with'), null)
    const trust = createTrustStore(id.trustDomain, [bundle])
    const { hostname, port } = target
    const socket: Socket & ReturnType<typeof connectTls> = connectTls({
      ...clientTlsOptions(undefined, trust, { alpnProtocols: ['http/1.1'] }),
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port === '' ? 443 : Number(port),
      lookup: guardedLookup,
      ...(isIP(hostname) === 0 && !hostname.startsWith('[') ? { servername: hostname } : {}),
    })
    const fail = (error: Error): void => {
      socket.destroy()
      done(error, null)
    }
    socket.setTimeout(DEADLINE, () => socket.destroy(new Error('no connection in time')))
    socket.once('error', fail)
    socket.once('secureConnect', () => {
      socket.off('error', fail)
      socket.setTimeout(0)
      const verdict = verifyPeerSocket(socket, trust, clock.now(), { role: 'server' })
      if (!verdict.ok) return fail(endpointError(config, `its certificate is refused: ${verdict.reason} ${verdict.detail}`.trim()))
      if (verdict.value.id.uri !== id.uri) return fail(endpointError(config, `it is ${verdict.value.id.uri}, not ${id.uri}`))
      done(null, socket)
    })
  }

  const reload = oneAtATime(async () => {
    clearTimeout(timer)
    try {
      await refresh()
      failure = undefined
      observe?.(trustDomain, 'ok')
    } catch (error) {
      const { code, message } = error instanceof PosternError ? error : endpointError(config, causeOf(error), error)
      const said = `${message} (${code})`
      failure = { error: said, at: failure?.error === said ? failure.at : clock.now() }
      observe?.(trustDomain, code)
    }
    if (!closed) timer = setTimeout(() => void reload(), delay()).unref()
  })

  /** A little late rather than early, and no sooner after a failure (§6.2). */
  function delay(): number {
    const hint = current?.refreshHintSeconds
    const interval = hint === undefined ? DEFAULT_REFRESH : Math.min(LONGEST_REFRESH, Math.max(SHORTEST_REFRESH, hint * 1000))
    return interval * (1 + random() / 10)
  }

  void reload()
  return {
    get current() {
      return current
    },
    reload,
    status: () => ({ input: url, kind: 'bundle', digest, appliedAt, error: failure?.error, failedAt: failure?.at }),
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}

function endpointError({ url, trustDomain }: FederationEndpointConfig, why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_BUNDLE_ENDPOINT', `The bundle endpoint ${url} of ${trustDomain}: ${why}.`, { cause })
}

function causeOf(error: unknown): string {
  const { code = '', name = '', message = '' } = error instanceof Error ? (error as NodeJS.ErrnoException) : {}
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') return `its answer is longer than ${LONGEST_ANSWER} bytes`
  if (name === 'TimeoutError' || /TIMEOUT/.test(code)) return 'no whole answer in time'
  return code === '' ? message : code
}
