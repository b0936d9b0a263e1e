/**
 * Where the API server sends its reviews: `/inject` for pods, `/policies` for policies. It presents the controller's own SVID, which names the
 * webhook's service too; a new one is for new connections, so the old ones end with their next answer: closing them at once could meet a review on its way.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Clock } from '#base/clock'
import type { Identity } from '#config/snapshot'
import { reloadServerContext, serverTlsOptions } from '#pki/tls-options'
import type { Log } from '#telemetry/log'
import type { InjectionSettings } from './inject/settings.ts'
import { answerPolicyReview } from './policy-review.ts'
import { reviewPod } from './webhook.ts'

export interface WebhookServer {
  readonly server: Server
  apply(identity: Identity): void
  close(): void
}

export interface WebhookOptions {
  readonly identity: Identity
  readonly settings: InjectionSettings
  /** Value of `postern.dev/inject` on a namespace. */
  readonly labelOf: (namespace: string) => string | undefined
  readonly clock: Clock
  readonly log: Log
  /** Told of every review of a pod: for the metric. */
  readonly onReview: (outcome: 'injected' | 'left' | 'refused' | 'malformed') => void
}

/** The largest object that etcd takes is 1.5 MiB, and a review holds two at most. */
const LONGEST_BODY = 4 * 1024 * 1024
/** The API server keeps idle connections for 90 s: whoever closes sooner invites resets. */
const KEEP_ALIVE = 120_000

export function createWebhookServer(options: WebhookOptions): WebhookServer {
  const { settings, labelOf, clock, log, onReview } = options
  /** Connections made with an older certificate end after the answer that is under way. */
  let generation = 0
  const generations = new WeakMap<object, number>()
  const server = createServer(
    {
      ...serverTlsOptions(options.identity.identity, options.identity.trust),
      keepAliveTimeout: KEEP_ALIVE,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      maxHeaderSize: 16_384,
    },
    (request, response) => void serve(request, response),
  )
  server.on('secureConnection', (socket) => void generations.set(socket, generation))
  server.on('tlsClientError', (_error, socket) => void socket.destroy())
  server.on('clientError', (_error, socket) => void socket.destroy())

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (generations.get(request.socket) !== generation) response.setHeader('connection', 'close')
    const [path] = (request.url ?? '').split('?', 1)
    if (request.method !== 'POST' || (path !== '/inject' && path !== '/policies')) return end(response, 404, 'Not Found')
    const review = await readJson(request)
    const answer =
      review === undefined
        ? undefined
        : path === '/inject'
          ? inject(review.value)
          : answerPolicyReview(review.value, clock.now(), settings.trustDomain)
    if (answer === undefined) {
      onReview('malformed')
      return end(response, 400, 'Bad Request: not an AdmissionReview')
    }
    const body = JSON.stringify(answer)
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  }

  function inject(review: unknown): object | undefined {
    const reviewed = reviewPod(review, settings, labelOf)
    if (reviewed === undefined) return undefined
    const { answer, namespace, pod, outcome, notes } = reviewed
    onReview(outcome)
    if (outcome === 'refused') log.warn({ namespace, pod, problems: notes }, 'a pod was refused')
    else log.debug({ namespace, pod, outcome, notes }, 'a pod was reviewed')
    return answer
  }

  return {
    server,
    apply(next) {
      generation++
      reloadServerContext(server, serverTlsOptions(next.identity, next.trust))
    },
    close() {
      server.close()
      server.closeIdleConnections()
    },
  }
}

/** Undefined if it is no JSON, too long, or broken off. */
async function readJson(request: IncomingMessage): Promise<{ readonly value: unknown } | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > LONGEST_BODY) return undefined
      chunks.push(chunk)
    }
    return { value: JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown }
  } catch {
    return undefined
  }
}

function end(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`)
}
