/**
 * An API server of a large cluster, of as little work as can be: its pods are made as they are listed, a page at a time, so that what is measured is
 * who reads them. It lists with pages, watches, takes patches of statuses and tells of them, as the real one does.
 */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { type KubeObject, type Resource, resourcePath } from '#kube/objects'
import { RESOURCES } from '#controller/snapshot/objects'
import { runningPod } from './pods.ts'

export interface ClusterSize {
  readonly namespaces: number
  readonly services: number
  readonly pods: number
  readonly policies: number
}

export interface ClusterOptions extends ClusterSize {
  /** Of a server that is called `localhost`. */
  readonly key: string
  readonly cert: string
  /** Annotations of every namespace. */
  readonly annotations?: Readonly<Record<string, string>>
}

export interface ApiServer extends AsyncDisposable {
  readonly url: string
  /** Calls by method so far. */
  readonly calls: ReadonlyMap<string, number>
  /** Stores it as a new version, and tells whoever watches. */
  put(resource: Resource, object: Stored): void
  /** A pod that is made anew: deleted, created, scheduled, running; the endpoints of its service follow. */
  replacePod(index: number): void
}

export type Stored = {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [other: string]: unknown }
} & Readonly<Record<string, unknown>>

export const namespaceOf = (index: number, { namespaces }: ClusterSize): string => `ns-${index % namespaces}`
export const serviceName = (index: number): string => `service-${index}`

/** The policy of the given number; its generation says how often it was changed. */
export function policyObject(index: number, size: ClusterSize, generation = 1): Stored {
  const namespace = namespaceOf(index, size)
  const callers = Array.from({ length: 3 }, (_, caller) => `client-${(index * 3 + caller) % 100}`)
  return {
    apiVersion: 'postern.dev/v1',
    kind: 'Policy',
    metadata: { name: `policy-${index}`, namespace, uid: `policy-${index}`, generation, creationTimestamp: '2026-11-25T01:00:00Z' },
    spec: {
      target: { service: serviceName(index % size.services), ports: [8080] },
      rules: [
        {
          name: 'reads',
          allow: {
            and: [
              { service_account: { in: callers } },
              { http_method: { in: ['GET', 'HEAD'] } },
              { http_path: { starts_with: `/v${generation}/items/` } },
            ],
          },
        },
        { name: 'writes', allow: { and: [{ service_account: callers[0] }, { http_method: 'POST' }, { http_path: '/items' }] } },
        { name: 'internal', deny: { or: [{ http_path: { starts_with: '/internal/' } }] } },
      ],
    },
  }
}

export async function startApiServer(options: ClusterOptions): Promise<ApiServer> {
  const calls = new Map<string, number>()
  const stored = new Map<string, Map<string, KubeObject>>()
  const watches = new Map<ServerResponse, string>()
  let version = 1_000
  const at = (resource: Resource): Map<string, KubeObject> => {
    const path = resourcePath(resource)
    let found = stored.get(path)
    if (found === undefined) stored.set(path, (found = new Map()))
    return found
  }
  const keyOf = ({ metadata }: Stored): string => `${metadata.namespace ?? ''}/${metadata.name}`
  const versioned = (object: Stored): KubeObject => {
    const { uid = `uid-${keyOf(object)}` } = object.metadata
    return { ...object, metadata: { ...object.metadata, uid, resourceVersion: String(++version) } } as KubeObject
  }
  const tell = (path: string, type: string, object: unknown): void => {
    const line = `${JSON.stringify({ type, object })}\n`
    for (const [response, watched] of watches) if (watched === path) response.write(line)
  }
  const put = (resource: Resource, object: Stored): KubeObject => {
    const made = versioned(object)
    const known = at(resource)
    const type = known.has(keyOf(object)) ? 'MODIFIED' : 'ADDED'
    known.set(keyOf(object), made)
    tell(resourcePath(resource), type, made)
    return made
  }

  const podsOfService = (index: number): number[] =>
    Array.from({ length: Math.ceil((options.pods - index) / options.services) }, (_, turn) => turn * options.services + index)
  const podName = (index: number, generation = 0): string => `${serviceName(index % options.services)}-6f99f599c5-${index}-${generation}`
  const podIp = (index: number): string => `10.${98 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`
  const generations = new Map<number, number>()
  const pod = (index: number): Stored => {
    const service = index % options.services
    const generation = generations.get(index) ?? 0
    const made = runningPod(
      serviceName(service),
      namespaceOf(service, options),
      podName(index, generation),
      podIp(index),
    ) as unknown as Stored
    return { ...made, metadata: { ...made.metadata, uid: `pod-${index}-${generation}` } }
  }
  const slice = (service: number): Stored => ({
    metadata: {
      name: `${serviceName(service)}-x7k2p`,
      namespace: namespaceOf(service, options),
      labels: { 'kubernetes.io/service-name': serviceName(service) },
    },
    addressType: 'IPv4',
    endpoints: podsOfService(service).map((index) => ({
      addresses: [podIp(index)],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: 'node-1',
      targetRef: { kind: 'Pod', name: podName(index, generations.get(index) ?? 0), namespace: namespaceOf(service, options) },
    })),
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  })
  for (let index = 0; index < options.namespaces; index++) {
    const labels = { 'postern.dev/inject': 'enabled' }
    put(RESOURCES.namespaces, {
      metadata: { name: `ns-${index}`, labels, ...(options.annotations && { annotations: options.annotations }) },
    })
  }
  for (let index = 0; index < options.services; index++) {
    const name = serviceName(index)
    put(RESOURCES.services, {
      metadata: { name, namespace: namespaceOf(index, options) },
      spec: {
        clusterIP: `10.96.${index >> 8}.${index & 255}`,
        selector: { 'app.kubernetes.io/name': name },
        ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
      },
    })
    put(RESOURCES.endpointSlices, slice(index))
  }
  for (let index = 0; index < options.policies; index++) put(RESOURCES.policies, policyObject(index, options))

  function list(path: string, query: URLSearchParams, response: ServerResponse): void {
    const limit = Number(query.get('limit') ?? 500)
    const from = Number(query.get('continue') ?? 0)
    const isPods = path === resourcePath(RESOURCES.pods)
    const all = isPods ? [] : [...(stored.get(path)?.values() ?? [])]
    const count = isPods ? options.pods : all.length
    const items = isPods
      ? Array.from({ length: Math.min(limit, count - from) }, (_, offset) => {
          const made = pod(from + offset)
          return { ...made, metadata: { ...made.metadata, resourceVersion: '900' } }
        })
      : all.slice(from, from + limit)
    const metadata = { resourceVersion: String(version), ...(from + limit < count && { continue: String(from + limit) }) }
    json(response, 200, { kind: 'List', apiVersion: 'v1', metadata, items })
  }

  function patch(path: string, body: string, response: ServerResponse): void {
    const [, root, namespace = '', plural = '', name = '', subresource] =
      /^(\/apis\/[^/]+\/[^/]+|\/api\/v1)(?:\/namespaces\/([^/]+))?\/([^/]+)\/([^/]+?)(\/status)?$/.exec(path) ?? []
    const collection = `${root}/${plural}`
    const before = stored.get(collection)?.get(`${namespace}/${name}`)
    if (before === undefined || subresource === undefined) {
      // Whatever else is applied is kept where it is asked for.
      const made = versioned({ metadata: { name, namespace }, ...(JSON.parse(body) as object) })
      singles.set(path, made)
      return json(response, 200, made)
    }
    const { status } = JSON.parse(body) as { readonly status: object }
    const made = { ...before, status, metadata: { ...before.metadata, resourceVersion: String(++version) } }
    stored.get(collection)?.set(`${namespace}/${name}`, made)
    tell(collection, 'MODIFIED', made)
    json(response, 200, made)
  }

  const singles = new Map<string, unknown>()
  const server = createServer(
    { key: options.key, cert: options.cert, keepAliveTimeout: 90_000 },
    (request, response) => void serve(request, response),
  )

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'https://localhost')
    const { method = '' } = request
    calls.set(method, (calls.get(method) ?? 0) + 1)
    if (method === 'PATCH') return patch(pathname, await text(request), response)
    if (searchParams.get('watch') === 'true') {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.flushHeaders()
      watches.set(response, pathname)
      response.on('close', () => watches.delete(response))
      return
    }
    if (searchParams.has('limit')) return list(pathname, searchParams, response)
    const single = singles.get(pathname)
    json(response, single === undefined ? 404 : 200, single ?? { kind: 'Status', status: 'Failure', code: 404, message: 'not found' })
  }

  server.listen(0, 'localhost')
  await once(server, 'listening')
  return {
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    calls,
    put: (resource, object) => void put(resource, object),
    replacePod(index) {
      const path = resourcePath(RESOURCES.pods)
      const service = index % options.services
      tell(path, 'DELETED', versioned(pod(index)))
      generations.set(index, (generations.get(index) ?? 0) + 1)
      const made = pod(index)
      const { nodeName: _, ...unscheduled } = made['spec'] as { readonly nodeName: string }
      tell(path, 'ADDED', versioned({ ...made, spec: unscheduled, status: { phase: 'Pending' } }))
      tell(path, 'MODIFIED', versioned({ ...made, status: { phase: 'Pending' } }))
      tell(path, 'MODIFIED', versioned(made))
      put(RESOURCES.endpointSlices, slice(service))
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
