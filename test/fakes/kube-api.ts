/** A small API server: objects by path, versions, list with pages, watch with bookmarks, and the faults that real ones show. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { KubeAccess } from '#kube/access'
import { type KubeObject, type Resource, resourcePath } from '#kube/objects'

export interface StoredEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: KubeObject
  readonly version: number
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

interface Collection {
  readonly objects: Map<string, KubeObject>
  readonly events: StoredEvent[]
}

export async function startKubeApi(pageSize = 2): Promise<KubeApiFake> {
  const collections = new Map<string, Collection>()
  const watches = new Map<ServerResponse, string>()
  const requests: string[] = []
  let version = 1
  let oldest = 0

  function collection(path: string): Collection {
    let found = collections.get(path)
    if (found === undefined) collections.set(path, (found = { objects: new Map(), events: [] }))
    return found
  }

  function tell(path: string, event: StoredEvent): void {
    collection(path).events.push(event)
    for (const [response, watched] of watches) {
      if (watched !== path) continue
      const write = (text: string): void => void (response.destroyed || response.write(text))
      if (fake.relay === undefined) write(line(event))
      else fake.relay(line(event), write)
    }
  }

  const server = createServer((request, response) => {
    void (async () => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      requests.push(`${request.method} ${request.url}`)
      if (fake.intercept?.(request, response, body) === true) return
      answer(request, response)
    })()
  })

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://x')
    const found = collection(url.pathname)
    if (url.searchParams.get('watch') === 'true') return watch(url, found, response)
    if (request.method !== 'GET') return status(response, 405, 'not in this fake')
    const parent = url.pathname.slice(0, url.pathname.lastIndexOf('/'))
    const name = url.pathname.slice(parent.length + 1)
    const single = collections.get(parent)?.objects.get(name)
    if (single !== undefined) return send(response, 200, single)
    const all = [...found.objects.values()]
    const from = Number(url.searchParams.get('continue') ?? 0)
    const limit = Math.min(pageSize, Number(url.searchParams.get('limit') ?? all.length))
    const next = from + limit < all.length ? { continue: String(from + limit) } : {}
    send(response, 200, { metadata: { resourceVersion: String(version), ...next }, items: all.slice(from, from + limit) })
  }

  function watch(url: URL, found: Collection, response: ServerResponse): void {
    const since = Number(url.searchParams.get('resourceVersion'))
    response.writeHead(200, { 'content-type': 'application/json' })
    if (since < oldest) {
      response.end(
        `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: `too old resource version: ${since}` } })}\n`,
      )
      return
    }
    response.flushHeaders()
    watches.set(response, url.pathname)
    response.on('close', () => watches.delete(response))
    for (const event of found.events) if (event.version > since) response.write(line(event))
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  const fake: KubeApiFake = {
    access: { server: `http://127.0.0.1:${port}`, ca: '', auth: { kind: 'token', token: 'fake' }, namespace: 'default' },
    requests,
    relay: undefined,
    intercept: undefined,
    put(resource, object) {
      const path = resourcePath(resource)
      const { objects } = collection(path)
      const before = objects.get(object.metadata.name)
      const stored: KubeObject = {
        ...object,
        metadata: { ...object.metadata, uid: before?.metadata.uid ?? `uid-${++version}`, resourceVersion: String(++version) },
      }
      objects.set(object.metadata.name, stored)
      tell(path, { type: before === undefined ? 'ADDED' : 'MODIFIED', object: stored, version })
      return stored
    },
    remove(resource, name) {
      const path = resourcePath(resource)
      const { objects } = collection(path)
      const before = objects.get(name)
      if (before === undefined) return
      objects.delete(name)
      version++
      tell(path, { type: 'DELETED', object: { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } }, version })
    },
    objects: (resource) => [...collection(resourcePath(resource)).objects.values()],
    breakWatches(midLine = false) {
      for (const response of watches.keys()) {
        if (midLine) response.write('{"type":"ADD', () => response.destroy())
        else response.destroy()
      }
    },
    forget() {
      oldest = version + 1
      version++
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

export function line({ type, object }: { readonly type: string; readonly object: unknown }): string {
  return `${JSON.stringify({ type, object })}\n`
}

export function send(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

export function status(response: ServerResponse, code: number, message: string): void {
  send(response, code, { kind: 'Status', status: 'Failure', code, message })
}
