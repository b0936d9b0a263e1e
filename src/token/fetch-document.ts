/** Fetches a small JSON document of an issuer: over HTTPS, from where it was asked for and nowhere else, within a deadline and a size. */
import { readFile } from 'node:fs/promises'
import { ok, type Refusal, refusal, type Result } from '#base/result'
import { FORBIDDEN_ADDRESS, guardedLookup, urlFault } from './addresses.ts'
import { LONGEST_DOCUMENT } from './key-set.ts'

/** Ms for a whole answer, from name to last byte. */
const DEADLINE = 5000

export interface FetchOptions {
  /** Absolute path of PEM: the roots that the server is verified against, instead of the system's. Read for each fetch. */
  readonly caFile: string | undefined
  /** Absolute path of a bearer token for the server, as Kubernetes asks for one. Read for each fetch. */
  readonly tokenFile: string | undefined
  /** Ms; default 5,000. */
  readonly deadline?: number
}

/** Refused with an `ERR_JWKS_…`. Redirects are not followed: an address that was not configured is not trusted with keys. */
export async function fetchDocument(url: string, options: FetchOptions): Promise<Result<string>> {
  const fault = urlFault(url)
  if (fault !== undefined) return refusal('ERR_JWKS_ADDRESS', `${url}: ${fault}`)
  let ca: string | undefined
  let bearer: string | undefined
  try {
    ca = options.caFile === undefined ? undefined : await readFile(options.caFile, 'utf8')
    bearer = options.tokenFile === undefined ? undefined : (await readFile(options.tokenFile, 'utf8')).trim()
  } catch (error) {
    return refusal('ERR_JWKS_FILE', error instanceof Error ? error.message : String(error))
  }
  const { Agent, request } = await import('undici')
  const deadline = options.deadline ?? DEADLINE
  const agent = new Agent({
    connect: { lookup: guardedLookup, timeout: deadline, ...(ca === undefined ? {} : { ca }) },
    headersTimeout: deadline,
    bodyTimeout: deadline,
    maxResponseSize: LONGEST_DOCUMENT,
  })
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher: agent,
      signal: AbortSignal.timeout(deadline),
      headers: {
        accept: 'application/json, application/jwk-set+json',
        'accept-encoding': 'identity',
        ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      },
    })
    const wrong = headFault(url, statusCode, headers)
    return wrong ?? ok(await body.text())
  } catch (error) {
    return networkFault(url, error)
  } finally {
    void agent.destroy()
  }
}

function headFault(url: string, status: number, headers: Readonly<Record<string, string | string[] | undefined>>): Refusal | undefined {
  if (status >= 300 && status < 400)
    return refusal('ERR_JWKS_REDIRECT', `${url} answers ${status} to ${String(headers['location']).slice(0, 200)}`)
  if (status !== 200) return refusal('ERR_JWKS_STATUS', `${url} answers ${status}`)
  const type = String(headers['content-type'] ?? '')
  if (/html/i.test(type)) return refusal('ERR_JWKS_CONTENT', `${url} answers with a page (${type.slice(0, 60)})`)
  const coding = headers['content-encoding']
  if (coding !== undefined && coding !== 'identity')
    return refusal('ERR_JWKS_CONTENT', `${url} answers in content coding ${String(coding).slice(0, 30)}`)
  return undefined
}

function networkFault(url: string, error: unknown): Refusal {
  const { code = '', name = '', message = '' } = error instanceof Error ? (error as NodeJS.ErrnoException) : {}
  const detail = `${url}: ${code === '' ? message : code}`
  if (code === FORBIDDEN_ADDRESS) return refusal('ERR_JWKS_ADDRESS', `${url}: ${message}`)
  if (name === 'TimeoutError' || /^UND_ERR_\w+_TIMEOUT$/.test(code)) return refusal('ERR_JWKS_TIMEOUT', `${url}: no whole answer in time`)
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE' || code === 'UND_ERR_HEADERS_OVERFLOW')
    return refusal('ERR_JWKS_TOO_LARGE', `${url}: longer than ${LONGEST_DOCUMENT} bytes`)
  if (/CERT|^ERR_TLS|^ERR_SSL|^UNABLE_TO_/.test(code)) return refusal('ERR_JWKS_TLS', detail)
  return refusal('ERR_JWKS_UNREACHABLE', detail)
}
