/** The admin address: what the sidecar decided, who it is, what is in force. On a Unix socket it also takes two orders. */
import type { Server } from 'node:http'
import type { ExchangeEvent, HandshakeEvent } from '#audit/event'
import { createRecordText } from '#audit/record-text'
import type { Ring } from '#audit/ring'
import { isoTime } from '#audit/time-text'
import { PosternError } from '#base/errors'
import { REASONS } from '#base/reasons'
import { type Address, formatAddress, isLoopback } from '#base/units'
import { createSmallServer, json, problem } from '#telemetry/http-server'
import type { Route, SmallRequest, SmallResponse } from '#telemetry/http-server'
import { LOG_LEVELS } from '#telemetry/log'
import type { Log, LogLevel } from '#telemetry/log'
import { listenPrivately } from '#telemetry/private-socket'
import { withoutSecrets } from '#telemetry/without-secrets'
import type { PlaintextCaller } from './plaintext.ts'
import type { ConnectionDescription } from './registry.ts'
import { listen } from '#base/sockets'

/** Where the answers come from. What is `unknown` is shown as JSON as it is, secrets aside. */
export interface AdminSources {
  readonly decisions: Ring
  /** By the policies in force now. Undefined where policy was never asked. */
  explain(event: ExchangeEvent): Promise<unknown>
  /** The generation of policy in force. */
  generation(): number
  /** The digest of a generation, as records show it. */
  digestOf(generation: number): string
  identity(): unknown
  policies(): unknown
  connections(limit: number): readonly ConnectionDescription[]
  /** Who came without TLS, the latest first. */
  plaintext(limit: number): readonly PlaintextCaller[]
  config(): unknown
  /** The JWK Set of assertions to the app. */
  assertionKeys(): SmallResponse
  /** Begins; does not wait. */
  drain(): void
  /** Asks all callers to connect elsewhere, and goes on serving those who come. */
  turnAway(): void
  setLogLevel(level: LogLevel): void
}

export interface AdminOptions {
  /** A Unix socket, made with mode 0600; or loopback TCP, which is read-only. */
  readonly address: Address
  readonly sources: AdminSources
  readonly log: Log
}

const DEFAULT_LIMIT = 100
const HIGHEST_LIMIT = 2000

/** Resolves when it listens. @throws PosternError ERR_LISTEN */
export async function openAdminServer({ address, sources, log }: AdminOptions): Promise<Server> {
  const isPrivate = address.kind === 'unix'
  if (!isLoopback(address)) {
    throw new PosternError(
      'ERR_LISTEN',
      `Cannot listen on ${formatAddress(address)} (spec.admin): only loopback and unix: are allowed there.`,
    )
  }
  const server = createSmallServer({
    routes: isPrivate ? [...readRoutes(sources), ...orderRoutes(sources, log)] : readRoutes(sources),
    log,
    loopbackHostOnly: !isPrivate,
    connections: 16,
  })
  if (isPrivate) await listenPrivately(server, address.path, 'spec.admin')
  else await listen(server, address, 'spec.admin')
  return server
}

function readRoutes(sources: AdminSources): Route[] {
  const recordText = createRecordText({ digestOf: (generation) => sources.digestOf(generation) })
  const record = (event: ExchangeEvent): unknown => JSON.parse(recordText.exchange(event))
  const handshake = (event: HandshakeEvent): unknown => JSON.parse(recordText.handshake(event))
  const shown = (value: unknown): SmallResponse => json(withoutSecrets(value))
  const limited = (request: SmallRequest, answer: (limit: number) => SmallResponse): SmallResponse => {
    const limit = limitOf(request.query)
    return limit === undefined ? problem(400, `Bad Request: limit must be a number from 1 to ${HIGHEST_LIMIT}`) : answer(limit)
  }
  return [
    {
      path: '/v1/decisions',
      answer: (request) => limited(request, (limit) => shown({ decisions: sources.decisions.recent(limit).map(record) })),
    },
    {
      path: '/v1/decisions/{request_id}',
      async answer({ params }) {
        const id = params['request_id'] ?? ''
        const found = sources.decisions.find(id)
        const [event] = found
        const generation = sources.generation()
        if (event === undefined) {
          const refused = sources.decisions.findHandshake(id)
          if (refused === undefined) return problem(404, 'Not Found: nothing with this id is kept; only the latest are')
          return shown({
            record: handshake(refused),
            reason: { code: refused.reason, ...REASONS[refused.reason] },
            explanation: null,
            explained_with: { policy_generation: generation, same: false },
            decisions_with_this_id: 1,
          })
        }
        const { decision, reason } = event
        return shown({
          record: record(event),
          ...(reason === undefined ? {} : { reason: { code: reason, ...REASONS[reason] } }),
          explanation: (await sources.explain(event)) ?? null,
          explained_with: { policy_generation: generation, same: decision?.generation === generation },
          decisions_with_this_id: found.length,
        })
      },
    },
    {
      path: '/v1/handshakes',
      answer: (request) => limited(request, (limit) => shown({ handshakes: sources.decisions.recentHandshakes(limit).map(handshake) })),
    },
    { path: '/v1/identity', answer: () => shown(sources.identity()) },
    { path: '/v1/policies', answer: () => shown(sources.policies()) },
    {
      path: '/v1/connections',
      answer: (request) => limited(request, (limit) => shown({ connections: sources.connections(limit).map(describeConnection) })),
    },
    {
      path: '/v1/plaintext',
      answer: (request) => limited(request, (limit) => shown({ callers: sources.plaintext(limit).map(describeCaller) })),
    },
    { path: '/v1/config', answer: () => shown(sources.config()) },
    { path: '/v1/assertion-keys', answer: () => sources.assertionKeys() },
  ]
}

function orderRoutes(sources: AdminSources, log: Log): Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/drain',
      answer() {
        log.info({}, 'draining, as asked on the admin socket')
        sources.drain()
        return json({ draining: true }, 202)
      },
    },
    {
      method: 'POST',
      path: '/v1/turn-away',
      answer() {
        log.info({}, 'turning callers away gently, as asked on the admin socket')
        sources.turnAway()
        return json({ turning_away: true }, 202)
      },
    },
    {
      method: 'POST',
      path: '/v1/log-level',
      answer({ body }) {
        const asked = typeof body === 'object' && body !== null && 'level' in body ? body.level : undefined
        const level = LOG_LEVELS.find((known) => known === asked)
        if (level === undefined) return problem(400, `Bad Request: send {"level": …} with one of ${LOG_LEVELS.join(', ')}`)
        log.info({ level }, 'log level changed on the admin socket')
        sources.setLogLevel(level)
        return json({ level })
      },
    },
  ]
}

function limitOf(query: URLSearchParams): number | undefined {
  const given = query.get('limit')
  if (given === null) return DEFAULT_LIMIT
  const limit = /^\d{1,4}$/.test(given) ? Number(given) : 0
  return limit >= 1 && limit <= HIGHEST_LIMIT ? limit : undefined
}

function describeCaller({ listener, sourceIp, connections, firstSeen, lastSeen }: PlaintextCaller): unknown {
  return { listener, source_ip: sourceIp, connections, first_seen: isoTime(firstSeen), last_seen: isoTime(lastSeen) }
}

function describeConnection({
  listener,
  direction,
  protocol,
  peer,
  sourceIp,
  openedAt,
  notAfter,
  exchange,
}: ConnectionDescription): unknown {
  return {
    listener,
    direction,
    protocol,
    peer,
    source_ip: sourceIp,
    opened_at: isoTime(openedAt),
    ends_at: notAfter === undefined || notAfter === Infinity ? undefined : isoTime(notAfter),
    exchange: exchange && {
      request_id: exchange.requestId,
      method: exchange.method,
      path: exchange.path,
      started_at: isoTime(exchange.startedAt),
    },
  }
}
