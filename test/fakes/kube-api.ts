/**
 * A small API server: objects and versions (kube-store.ts), lists with pages, watches with bookmarks, reviews of tokens, webhooks (kube-admission.ts),
 * and the faults that real ones show. `test/support/kube-cases.ts` holds it to what a real one answers.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { KubeAccess } from '#kube/access'
import { type KubeObject, type Resource, resourcePath } from '#kube/objects'
import { admit } from './kube-admission.ts'
import { type Answer, createKubeStore, failure, type Json, parseTarget, type Target } from './kube-store.ts'

export type { StoredEvent } from './kube-store.ts'

/** Who a token is. */
export interface FakeToken {
  readonly username: string
  readonly audiences: readonly string[]
  readonly extra?: Readonly<Record<string, readonly string[]>>
}

export interface KubeApiFake extends AsyncDisposable {
  readonly access: KubeAccess
  /** Requests so far: `GET /api/v1/pods?watch=true`. */
  readonly requests: readonly string[]
  put(
    resource: Resource,
    object: { readonly metadata: { readonly name: string } & Record<string, unknown> } & Record<string, unknown>,
  ): KubeObject
  remove(resource: Resource, name: string): void
  objects(resource: Resource): readonly KubeObject[]
  /** Those that a TokenReview finds good. */
  readonly tokens: Map<string, FakeToken>
  /** Breaks all watches off, in the middle of a line if asked. */
  breakWatches(midLine?: boolean): void
  /** Watches must list anew: no version before now is known any more. */
  forget(): void
  /** Sends something to all watches as it is. */
  inject(text: string): void
  /** Takes each event of a watch in place of its delivery: later, twice, or never. What a watch begins with is delivered all the same. */
  relay: ((text: string, write: (text: string) => void) => void) | undefined
  /** Answers the next requests itself, when it returns true. */
  intercept: ((request: IncomingMessage, response: ServerResponse, body: string) => boolean) | undefined
  readonly watches: number
}

interface Watch {
  readonly target: Target
  readonly select: (object: KubeObject) => boolean
}

export async function startKubeApi(pageSize = 2): Promise<KubeApiFake> {
  const watches = new Map<ServerResponse, Watch>()
  const pages = new Map<string, { readonly version: number; readonly rest: readonly KubeObject[] }>()
  const requests: string[] = []
  const tokens = new Map<string, FakeToken>()
  const store = createKubeStore((collection, event) => {
    for (const [response, { target, select }] of watches) {
      if (target.collection !== collection || !select(event.object)) continue
      const write = (text: string): void => void (response.destroyed || response.write(text))
      if (fake.relay === undefined) write(line(event))
      else fake.relay(line(event), write)
    }
  })

  const server = createServer((request, response) => {
    void (async () => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      requests.push(`${request.method} ${request.url}`)
      if (fake.intercept?.(request, response, body) === true) return
      await answer(request, response, body)
    })()
  })

  async function answer(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://x')
    const target = parseTarget(url.pathname)
    if (target === undefined) return status(response, 404, 'the server could not find the requested resource')
    const { method = 'GET' } = request
    if (method === 'GET' && url.searchParams.get('watch') === 'true') return watch(url.searchParams, target, response)
    const {
      code,
      body: answered,
      warnings = [],
    } = await perform(method, target, url.searchParams, body, request.headers['content-type'] ?? '')
    for (const warning of warnings) response.appendHeader('warning', `299 - ${JSON.stringify(warning)}`)
    send(response, code, answered)
  }

  async function perform(
    method: string,
    target: Target,
    query: URLSearchParams,
    body: string,
    contentType: string,
  ): Promise<Answer & { readonly warnings?: readonly string[] }> {
    if (method === 'GET') return target.name === undefined ? list(query, target) : store.get(target)
    if (method === 'DELETE') return store.delete(target)
    const value = JSON.parse(body) as Json
    if (method === 'POST' && target.plural === 'tokenreviews') return review(value)
    if (method === 'POST') {
      const admitted = await admit(store, target, value, query.get('dryRun') === 'All')
      if ('code' in admitted) return admitted
      return { ...store.create(target, admitted.object, query.get('dryRun') === 'All'), warnings: admitted.warnings }
    }
    if (method === 'PATCH') return store.patch(target, value, contentType)
    return failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')
  }

  function list(query: URLSearchParams, target: Target): Answer {
    const token = query.get('continue')
    const known = token === null ? undefined : pages.get(token)
    if (token !== null && (known === undefined || known.version < store.oldest)) {
      return failure(410, 'Expired', 'The provided continue parameter is too old to display a consistent list result.')
    }
    // All pages are of the version of the first.
    const { version, rest } = known ?? { version: store.version, rest: inOrder(store.objects(target)).filter(selection(query, target)) }
    const limit = Math.min(pageSize, Number(query.get('limit') ?? rest.length))
    const left = rest.slice(limit)
    const next = String(pages.size + 1)
    if (left.length > 0) pages.set(next, { version, rest: left })
    const metadata = { resourceVersion: String(version), ...(left.length > 0 && { continue: next, remainingItemCount: left.length }) }
    return { code: 200, body: { kind: 'List', apiVersion: 'v1', metadata, items: rest.slice(0, limit) } }
  }

  function review({ spec }: Json): Answer {
    const { token = '', audiences } = (spec ?? {}) as { readonly token?: string; readonly audiences?: readonly string[] }
    const found = tokens.get(token)
    const meant = found?.audiences.filter((audience) => (audiences ?? ['https://kubernetes.default.svc']).includes(audience)) ?? []
    const status =
      found === undefined || meant.length === 0
        ? {
            user: {},
            error:
              found === undefined ? '[invalid bearer token, token lookup failed]' : '[invalid bearer token, token audiences are not valid]',
          }
        : { authenticated: true, user: { username: found.username, ...(found.extra && { extra: found.extra }) }, audiences: meant }
    return { code: 201, body: { kind: 'TokenReview', apiVersion: 'authentication.k8s.io/v1', metadata: {}, spec: spec ?? {}, status } }
  }

  function watch(query: URLSearchParams, target: Target, response: ServerResponse): void {
    const since = Number(query.get('resourceVersion') ?? '0')
    const initial = query.get('sendInitialEvents') === 'true'
    const select = selection(query, target)
    response.writeHead(200, { 'content-type': 'application/json' })
    if (since > 0 && since < store.oldest && !initial) {
      const message = `too old resource version: ${since} (${store.oldest})`
      response.end(line({ type: 'ERROR', object: failure(410, 'Expired', message).body }))
      return
    }
    response.flushHeaders()
    watches.set(response, { target, select })
    response.on('close', () => watches.delete(response))
    if (initial || since === 0) {
      for (const object of inOrder(store.objects(target)).filter(select)) response.write(line({ type: 'ADDED', object }))
    } else {
      for (const event of store.events(target.collection)) if (event.version > since && select(event.object)) response.write(line(event))
    }
    if (initial && query.get('allowWatchBookmarks') === 'true') {
      const metadata = { resourceVersion: String(store.version), annotations: { 'k8s.io/initial-events-end': 'true' } }
      response.write(line({ type: 'BOOKMARK', object: { metadata } }))
    }
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const targetOf = (resource: Resource, name?: string): Target => parseTarget(resourcePath(resource, name)) as Target

  const fake: KubeApiFake = {
    access: { server: `http://127.0.0.1:${port}`, ca: '', auth: { kind: 'token', token: 'fake' }, namespace: 'default' },
    requests,
    relay: undefined,
    intercept: undefined,
    tokens,
    put: (resource, object) => store.put(targetOf(resource), object),
    remove: (resource, name) => void store.remove(targetOf(resource, name)),
    objects: (resource) => store.objects(targetOf(resource)),
    breakWatches(midLine = false) {
      for (const response of watches.keys()) {
        if (midLine) response.write('{"type":"ADD', () => response.destroy())
        else response.destroy()
      }
    },
    forget() {
      store.oldest = store.version + 1
      store.skip()
    },
    inject(text) {
      for (const response of watches.keys()) response.write(text)
    },
    get watches() {
      return watches.size
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return fake
}

/** As etcd has them. */
function inOrder(objects: readonly KubeObject[]): KubeObject[] {
  const key = ({ metadata }: KubeObject): string => `${metadata.namespace ?? ''}/${metadata.name}`
  return objects.toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** `a=b`, `a!=b`, `a`, with commas; of fields, whatever lies there. */
function selection(query: URLSearchParams, { namespace }: Target): (object: KubeObject) => boolean {
  const requirements = (query.get('labelSelector') ?? '').split(',').filter((part) => part !== '')
  const fields = (query.get('fieldSelector') ?? '').split(',').filter((part) => part !== '')
  return (object) => {
    const { metadata } = object
    return (
      (namespace === undefined || metadata.namespace === namespace) &&
      requirements.every((part) => {
        const [, name = '', operator = '', value] = /^([^!=]+)(!=|==?)?(.*)$/.exec(part) ?? []
        const label = metadata.labels?.[name]
        return operator === '' ? label !== undefined : (label === value) === (operator !== '!=')
      }) &&
      fields.every((part) => {
        const [name = '', value] = part.split('=')
        return name.split('.').reduce<unknown>((at, step) => (at as Json | undefined)?.[step], object) === value
      })
    )
  }
}

export function line({ type, object }: { readonly type: string; readonly object: unknown }): string {
  return `${JSON.stringify({ type, object })}\n`
}

export function send(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

export function status(response: ServerResponse, code: number, message: string): void {
  send(response, code, { kind: 'Status', status: 'Failure', code, message })
}
