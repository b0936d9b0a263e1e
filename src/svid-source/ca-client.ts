/**
 * Speaks to the certificate authority (docs/ca-api.md). Its server is verified before anything is sent: by our own verdict, and pinned to
 * `spiffe://<trust domain>/postern/ca`. What fails is a value with a sentence, and says whether to come back later.
 */
import request from 'undici/lib/api/api-request.js'
import Client from 'undici/lib/dispatcher/client.js'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import { formatAddress, type TcpAddress } from '#base/units'
import type { TrustStore } from '#pki/trust-store'
import type { WorkloadIdentity } from '#pki/workload-identity'
import { pinnedConnector } from './pinned-connector.ts'

/** What we show and trust in a call. */
export interface CaCredentials {
  /** Undefined: without a certificate. */
  readonly identity: WorkloadIdentity | undefined
  readonly trust: TrustStore
}

export interface CaFault {
  readonly ok: false
  readonly reason: ReasonCode
  /** One sentence for people, without a full stop at its end. */
  readonly detail: string
  /** Ms that the authority asked to wait; 0 if it did not. */
  readonly retryAfter: number
  /** It answered, and the same question would get the same answer: attest anew rather than try again. */
  readonly final: boolean
}

export type CaReply = { readonly ok: true; readonly value: unknown } | CaFault

export interface CaClient {
  /** `host:port`, as messages name it. */
  readonly name: string
  /** Ms by which the clock of this host was ahead of the authority's at its last answer; undefined before the first. */
  readonly skew: number | undefined
  post(path: string, body: unknown, credentials: CaCredentials): Promise<CaReply>
  get(path: string, credentials: CaCredentials): Promise<CaReply>
  close(): void
}

export interface CaClientOptions {
  readonly address: TcpAddress
  readonly clock: Clock
  /** Ms for a connection, and again for an answer. Default 5,000. */
  readonly timeout?: number
}

const TIMEOUT = 5_000
/** Bytes: a bundle of 256 roots, with room. */
const LONGEST_ANSWER = 1024 * 1024
/** Longer than the time between two polls, so that they share a connection. */
const KEEP_ALIVE = 60_000
const LONGEST_DETAIL = 300

export function fault(reason: ReasonCode, detail: string, { retryAfter = 0, final = false } = {}): CaFault {
  return { ok: false, reason, detail, retryAfter, final }
}

export function createCaClient({ address, clock, timeout = TIMEOUT }: CaClientOptions): CaClient {
  const name = formatAddress(address)
  let open: { readonly credentials: CaCredentials; readonly client: Client } | undefined
  let skew: number | undefined

  /** Connections are made with one certificate and one bundle: others mean others. */
  function clientFor(credentials: CaCredentials): Client {
    if (open !== undefined && open.credentials.identity === credentials.identity && open.credentials.trust === credentials.trust)
      return open.client
    void open?.client.close().catch(() => {})
    const client = new Client(`https://${name}`, {
      connect: pinnedConnector({
        address,
        identity: credentials.identity,
        trust: credentials.trust,
        expected: `spiffe://${credentials.trust.ownTrustDomain}/postern/ca`,
        clock,
        timeout,
        stranger,
      }),
      pipelining: 1,
      headersTimeout: timeout,
      bodyTimeout: timeout,
      keepAliveTimeout: KEEP_ALIVE,
      maxResponseSize: LONGEST_ANSWER,
    })
    open = { credentials, client }
    return client
  }

  function stranger(why: string): PosternError {
    const by = `by the clock of this host it is ${new Date(clock.now()).toISOString()}`
    return new PosternError('ERR_CA_SERVER', `What answers at ${name} is not the authority: ${why}; ${by}`)
  }

  function explain(error: unknown): CaFault {
    if (error instanceof PosternError) return fault(error.code, error.message)
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    // A server that takes no certificate of ours, or whose handshake fails, closes: no other sign reaches a client.
    const why = CAUSES[code] ?? (error instanceof Error ? `${error.message}${code && ` (${code})`}` : String(error))
    return fault('ERR_CA_UNREACHABLE', `The authority at ${name} cannot be reached: ${why}`)
  }

  async function send(method: 'GET' | 'POST', path: string, body: string | undefined, credentials: CaCredentials): Promise<CaReply> {
    try {
      const {
        statusCode,
        headers,
        body: content,
      } = await request.call(clientFor(credentials), {
        method,
        path,
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          accept: 'application/json, application/problem+json',
          // So that the authority can say that the clocks differ, and by how much.
          date: new Date(clock.now()).toUTCString(),
        },
        ...(body === undefined ? {} : { body }),
      })
      const now = clock.now()
      const theirs = Date.parse(String(headers['date'] ?? ''))
      // `Date` has whole seconds: half of one is what it lacks on average.
      if (!Number.isNaN(theirs)) skew = now - theirs - 500
      const value = parseJson(await content.text())
      if (statusCode === 200)
        return value === undefined ? fault('ERR_CA_ANSWER', `${name} answered with something that is no JSON`) : { ok: true, value }
      return refusalOf(name, statusCode, value, delayOf(headers['retry-after'], now))
    } catch (error) {
      return explain(error)
    }
  }

  return {
    name,
    get skew() {
      return skew
    },
    post: (path, body, credentials) => send('POST', path, JSON.stringify(body), credentials),
    get: (path, credentials) => send('GET', path, undefined, credentials),
    close() {
      void open?.client.destroy().catch(() => {})
      open = undefined
    },
  }
}

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there (ECONNREFUSED)',
  ENOTFOUND: 'its name has no address (ENOTFOUND)',
  EAI_AGAIN: 'its name cannot be looked up just now (EAI_AGAIN)',
  ETIMEDOUT: 'no connection in time (ETIMEDOUT)',
  EHOSTUNREACH: 'there is no way to that host (EHOSTUNREACH)',
  ECONNRESET: 'the connection was closed (ECONNRESET)',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_HEADERS_TIMEOUT: 'it did not answer in time',
  UND_ERR_BODY_TIMEOUT: 'it did not finish its answer in time',
}

/** What a status other than 200 means (RFC 9457 §3 for the body). */
function refusalOf(name: string, status: number, body: unknown, retryAfter: number): CaFault {
  const problem = typeof body === 'object' && body !== null ? (body as Readonly<Record<string, unknown>>) : {}
  const text = [problem['detail'], problem['title']].find((one): one is string => typeof one === 'string')
  const code = typeof problem['code'] === 'string' && /^ERR_[A-Z0-9_]{1,60}$/.test(problem['code']) ? problem['code'] : `status ${status}`
  const said = text === undefined ? code : `${oneLine(text)} (${code})`
  if (status === 429 || status === 503)
    return fault('ERR_CA_BUSY', `The authority at ${name} asks to come back later: ${said}`, { retryAfter })
  if (status >= 500) return fault('ERR_CA_UNREACHABLE', `The authority at ${name} cannot answer just now: ${said}`, { retryAfter })
  return fault('ERR_CA_REFUSED', `The authority at ${name} refused: ${said}`, { retryAfter, final: true })
}

/** Another host's words: no control characters, no more than a line. */
function oneLine(text: string): string {
  const line = text
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
    .trim()
    .replace(/\.$/, '')
  return line.length > LONGEST_DETAIL ? `${line.slice(0, LONGEST_DETAIL)}…` : line
}

/** Seconds or a date (RFC 9110 §10.2.3). @returns ms */
function delayOf(header: string | string[] | undefined, now: number): number {
  if (typeof header !== 'string') return 0
  if (/^\d{1,6}$/.test(header)) return Number(header) * 1000
  const at = Date.parse(header)
  return Number.isNaN(at) ? 0 : Math.max(0, at - now)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
