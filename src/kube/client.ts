/** A small client of the Kubernetes API: JSON in and out, errors by code, nothing retried here. */
import { readFile } from 'node:fs/promises'
import { Agent, type Dispatcher, request } from 'undici'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import type { KubeAccess } from './access.ts'
import { type KubeObject, type Resource, resourcePath } from './objects.ts'

export interface KubeList<T extends KubeObject> {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string }
  readonly items: readonly T[]
}

export interface ListOptions {
  readonly labelSelector?: string
  readonly fieldSelector?: string
}

export type PatchType = 'merge' | 'json' | 'apply'

export interface PatchOptions {
  readonly type: PatchType
  readonly subresource?: string
  /** Server-side apply: who owns the fields; conflicts are taken over. */
  readonly fieldManager?: string
}

export interface KubeClient {
  readonly namespace: string
  get<T extends KubeObject>(resource: Resource, name: string): Promise<T>
  /** All pages, 100 objects each, of one version. @param project what is kept of an object: a page is given up before the next is asked for */
  list<T extends KubeObject>(resource: Resource, options?: ListOptions, project?: (object: KubeObject) => T): Promise<KubeList<T>>
  create<T extends object>(resource: Resource, body: object, name?: string, subresource?: string): Promise<T>
  patch<T extends KubeObject>(resource: Resource, name: string, patch: unknown, options: PatchOptions): Promise<T>
  /** What would be stored, by way of all admission: nothing is. */
  dryRun<T extends object>(resource: Resource, body: object): Promise<T>
  delete(resource: Resource, name: string): Promise<void>
  /** The body of a watch, a line of JSON for each event, until `signal` or the server ends it. */
  stream(resource: Resource, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  /** A path that is no resource: `/version`, `/openid/v1/jwks`. */
  raw(path: string): Promise<unknown>
  /** The API server's wall clock, ms since the epoch, to the second. */
  time(): Promise<number>
  close(): Promise<void>
}

const REQUEST_TIMEOUT = 10_000
const PAGE = 100
const MAX_ANSWER = 256 * 1024 * 1024
/** The kubelet renews a token at 80 % of its life, an hour by default. */
const TOKEN_AGE = 60_000

const CONTENT_TYPE: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
}

export function createKubeClient(access: KubeAccess, clock: Clock): KubeClient {
  const { auth, ca, server } = access
  const credentials = auth.kind === 'certificate' ? { cert: auth.certificate, key: auth.key } : {}
  const agent = new Agent({ connect: { ca, ...credentials, timeout: 5000 }, headersTimeout: REQUEST_TIMEOUT, bodyTimeout: REQUEST_TIMEOUT })
  let token = auth.kind === 'token' ? auth.token : ''
  let tokenReadAt = -Infinity

  async function authorization(): Promise<Record<string, string>> {
    if (auth.kind === 'certificate') return {}
    if (auth.kind === 'tokenFile' && clock.monotonic() - tokenReadAt > TOKEN_AGE) {
      try {
        token = (await readFile(auth.path, 'utf8')).trim()
        tokenReadAt = clock.monotonic()
      } catch (error) {
        if (token === '')
          throw new PosternError('ERR_KUBE_CONFIG', `${auth.path}: the service account's token cannot be read.`, { cause: error })
      }
    }
    return { authorization: `Bearer ${token}` }
  }

  async function send(method: Dispatcher.HttpMethod, path: string, options: Sending = {}): Promise<Dispatcher.ResponseData> {
    const { query, body, contentType = 'application/json', signal, streaming = false } = options
    let response: Dispatcher.ResponseData
    try {
      response = await request(`${server}${path}`, {
        dispatcher: agent,
        method,
        headers: { accept: 'application/json', ...(await authorization()), ...(body !== undefined && { 'content-type': contentType }) },
        ...(query !== undefined && { query }),
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...(signal !== undefined && { signal }),
        // A watch is silent between its events; bookmarks come about once a minute.
        ...(streaming && { bodyTimeout: 0 }),
      })
    } catch (error) {
      throw unreachable(error, `${method} ${path}`, server)
    }
    if (response.statusCode >= 200 && response.statusCode < 300) return response
    throw await refused(response, `${method} ${path}`)
  }

  async function json<T>(method: Dispatcher.HttpMethod, path: string, options?: Sending): Promise<T> {
    const { body } = await send(method, path, options)
    const chunks: Uint8Array[] = []
    let size = 0
    try {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        size += chunk.length
        if (size > MAX_ANSWER) throw new PosternError('ERR_KUBE_RESPONSE', `${method} ${path}: the answer is longer than 256 MiB.`)
        chunks.push(chunk)
      }
    } catch (error) {
      throw error instanceof PosternError ? error : unreachable(error, `${method} ${path}`, server)
    }
    try {
      return JSON.parse(Buffer.concat(chunks).toString('utf8')) as T
    } catch (error) {
      throw new PosternError('ERR_KUBE_RESPONSE', `${method} ${path}: the answer is not JSON.`, { cause: error })
    }
  }

  return {
    namespace: access.namespace,
    get: (resource, name) => json('GET', resourcePath(resource, name)),
    async list<T extends KubeObject>(
      resource: Resource,
      options: ListOptions = {},
      project: (object: KubeObject) => T = (object) => object as T,
    ): Promise<KubeList<T>> {
      const items: T[] = []
      let next = ''
      for (;;) {
        const page: KubeList<KubeObject> = await json('GET', resourcePath(resource), {
          query: { limit: String(PAGE), ...(next !== '' && { continue: next }), ...selectors(options) },
        })
        for (const item of page.items) items.push(project(item))
        next = page.metadata.continue ?? ''
        if (next === '') return { metadata: page.metadata, items }
      }
    },
    create: (resource, body, name, subresource) => json('POST', resourcePath(resource, name, subresource), { body }),
    patch: (resource, name, patch, { type, subresource, fieldManager }) =>
      json('PATCH', resourcePath(resource, name, subresource), {
        body: patch,
        contentType: CONTENT_TYPE[type],
        ...(fieldManager !== undefined && { query: { fieldManager, ...(type === 'apply' && { force: 'true' }) } }),
      }),
    dryRun: (resource, body) => json('POST', resourcePath(resource), { body, query: { dryRun: 'All' } }),
    async delete(resource, name) {
      const { body } = await send('DELETE', resourcePath(resource, name))
      await body.dump()
    },
    async stream(resource, query, signal) {
      const { body } = await send('GET', resourcePath(resource), { query: { ...query, watch: 'true' }, signal, streaming: true })
      return body
    },
    raw: (path) => json('GET', path),
    async time() {
      const { headers, body } = await send('GET', '/version')
      await body.dump()
      const time = Date.parse(String(headers['date']))
      if (Number.isNaN(time)) throw new PosternError('ERR_KUBE_RESPONSE', 'GET /version: the answer has no date.')
      return time
    },
    close: () => agent.destroy(),
  }
}

interface Sending {
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly contentType?: string
  readonly signal?: AbortSignal
  readonly streaming?: boolean
}

export function selectors({ labelSelector, fieldSelector }: ListOptions): Record<string, string> {
  return { ...(labelSelector !== undefined && { labelSelector }), ...(fieldSelector !== undefined && { fieldSelector }) }
}

const CODES: Readonly<Record<number, ReasonCode>> = {
  401: 'ERR_KUBE_FORBIDDEN',
  403: 'ERR_KUBE_FORBIDDEN',
  404: 'ERR_KUBE_NOT_FOUND',
  409: 'ERR_KUBE_CONFLICT',
  410: 'ERR_KUBE_EXPIRED',
}

/** Most of a Status that is told on. */
const MAX_WORDS = 4096

async function refused(response: Dispatcher.ResponseData, what: string): Promise<PosternError> {
  const { statusCode } = response
  const words = await response.body.text().catch(() => '')
  return new PosternError(CODES[statusCode] ?? 'ERR_KUBE_RESPONSE', `${what}: ${statusCode} ${statusMessage(words)}`, {
    facts: { status: statusCode },
  })
}

/** The message of a `Status`, or the beginning of whatever else came. */
export function statusMessage(words: string): string {
  try {
    const { message } = JSON.parse(words) as { message?: unknown }
    if (typeof message === 'string') return message.slice(0, MAX_WORDS)
  } catch {
    // A proxy between answers with HTML.
  }
  return words.slice(0, 200)
}

function unreachable(error: unknown, what: string, server: string): PosternError {
  const { code, message } = error as NodeJS.ErrnoException
  return new PosternError('ERR_KUBE_UNREACHABLE', `${what}: no answer from ${server} (${code ?? message}).`, { cause: error })
}
