/** How an API server is asked, and what of its answers is told. */
import { Agent, request } from 'undici'
import { PosternError } from '#base/errors'
import type { KubeAccess } from '#kube/access'
import type { KubeClient } from '#kube/client'
import { jsonLines } from '#kube/json-lines'
import type { KubeObject, Resource } from '#kube/objects'

/** The server under question. */
export interface Kube {
  readonly client: KubeClient
  readonly access: KubeAccess
  /** Of this run alone; made, with its service account. */
  readonly namespace: string
  /** A token of its default account for an audience. */
  token(audience: string): Promise<string>
}

export type Json = Readonly<Record<string, unknown>>

export const CONFIG_MAPS = { group: '', version: 'v1', plural: 'configmaps' }

export const at = (resource: Resource, { namespace }: Kube): Resource => ({ ...resource, namespace })
export const map = (name: string, more: object = {}): object => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...more } })
export const policy = (name: string, spec: unknown): object => ({ apiVersion: 'postern.dev/v1', kind: 'Policy', metadata: { name }, spec })
export const RULES = [{ name: 'reads', allow: { and: [{ service_account: 'cart' }] } }]

/** What our client makes of a refusal: its code, and the server's own reason and status. */
export async function refused(asked: Promise<unknown>): Promise<unknown> {
  try {
    await asked
    return 'taken'
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return [error.code, error.facts['status'], error.message.replace(/^[A-Z]+ \S+: /, '')]
  }
}

interface Raw {
  readonly status: number
  readonly body: Json
  readonly warnings: readonly string[]
}

/** Past our client, for what it does not tell. */
export async function ask(
  { access }: Kube,
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
  contentType = 'application/json',
): Promise<Raw> {
  const { auth, ca, server } = access
  const credentials = auth.kind === 'certificate' ? { cert: auth.certificate, key: auth.key } : {}
  const dispatcher = new Agent({ connect: { ca, ...credentials } })
  try {
    const response = await request(`${server}${path}`, {
      method,
      dispatcher,
      headers: {
        accept: 'application/json',
        'content-type': contentType,
        ...(auth.kind === 'token' && { authorization: `Bearer ${auth.token}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const warnings = [response.headers['warning'] ?? []].flat().map((one) => /^299 - "(.*)"$/.exec(one)?.[1] ?? one)
    return { status: response.statusCode, body: (await response.body.json()) as Json, warnings }
  } finally {
    await dispatcher.close()
  }
}

/** Events of a watch until there are enough. */
export async function watched(
  kube: Kube,
  resource: Resource,
  query: Readonly<Record<string, string>>,
  count: number,
): Promise<{ type: string; object: KubeObject & Json }[]> {
  const ending = new AbortController()
  const found: { type: string; object: KubeObject & Json }[] = []
  const late = setTimeout(() => ending.abort(new Error(`${count} events were expected; there came ${JSON.stringify(found)}`)), 10_000)
  try {
    for await (const event of jsonLines(await kube.client.stream(resource, query, ending.signal), 1 << 20)) {
      found.push(event as (typeof found)[number])
      if (found.length === count) return found
    }
    return found
  } finally {
    clearTimeout(late)
    ending.abort()
  }
}

export const named = ({ type, object }: { readonly type: string; readonly object: KubeObject }): string =>
  `${type} ${object.metadata.name ?? ''}`.trim()
