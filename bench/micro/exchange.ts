/**
 * What one HTTP/1.1 request costs in our own code: whole inbound connections on sockets that do nothing, so that neither TLS nor system calls
 * are in the figure. Run: node bench/micro/exchange.ts
 */
import { EventEmitter } from 'node:events'
import { randomFillSync } from 'node:crypto'
import type { Socket } from 'node:net'
import { createDecisionLog } from '#audit/decision-log'
import { createRing } from '#audit/ring'
import { systemClock } from '#base/clock'
import { createRandomHex } from '#http/random-hex'
import { parseSpiffeId } from '#identity/spiffe-id'
import { createPolicyCompiler } from '#policy/compile'
import { readPolicyDocument } from '#policy/read-document'
import { readYamlDocuments } from '#config/yaml'
import { Http1Connection } from '#proxy/http1-connection'
import { Http1Upstream, READ_BUFFER, type OnRead } from '#proxy/http1-upstream'
import { InboundService } from '#proxy/inbound-service'
import type { InboundListenerState } from '#proxy/inbound-state'
import { createBacklog } from '#proxy/backlog'
import { createRateLimiter } from '#proxy/rate-limiter'
import { createRegistry } from '#proxy/registry'
import { silentLog } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'

const REQUEST = Buffer.from(
  'GET /catalog/items/42?full=1 HTTP/1.1\r\nHost: catalog.shop:8080\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n' +
    'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx-request-id: 0193b6f2-7a86-7c38-9b5e-0d4b0f7b8f11\r\n\r\n',
)
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nServer: app\r\nDate: Tue, 24 Nov 2026 20:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\n\r\n${'x'.repeat(1024)}`,
)

class DeadSocket extends EventEmitter {
  readonly destroyed = false
  onread: OnRead | undefined
  write(): boolean {
    if (this.onread !== undefined) {
      RESPONSE.copy(READ_BUFFER)
      queueMicrotask(() => this.onread?.callback(RESPONSE.length))
    }
    return true
  }
  cork(): void {}
  uncork(): void {}
  pause(): void {}
  resume(): void {}
  destroy(): void {}
  end(): void {}
}

const POLICY = `
apiVersion: postern.dev/v1
kind: Policy
metadata: { name: catalog-readers, namespace: shop }
spec:
  rules:
    - { name: cart-reads, allow: { and: [ { spiffe_id: spiffe://example.org/ns/shop/sa/cart }, { http_method: { in: [GET, HEAD] } }, { http_path: { starts_with: /catalog/ } } ] } }
    - { deny: { or: [ { http_path: { starts_with: /catalog/internal/ } } ] } }
`

export interface ExchangeBench {
  /** @returns µs of CPU a request, of all threads */
  run(requests: number): Promise<number>
  /** Of the newest requests, those that were allowed, forwarded and answered. */
  answered(most: number): number
}

export function createBench(): ExchangeBench {
  const { documents } = readYamlDocuments(POLICY, 'policy.yaml')
  const { document } = readPolicyDocument(documents[0]!, { defaultName: 'x' })
  const compiler = createPolicyCompiler({ service: 'catalog', labels: {}, ports: [7443] })
  compiler.add(document!)
  const id = parseSpiffeId('spiffe://example.org/ns/shop/sa/cart')
  if (!id.ok) throw new Error('no id')
  const metrics = createMetrics()
  const registry = createRegistry(Date.now(), systemClock)
  const ring = createRing()
  const log = createDecisionLog({
    target: {
      write: (chunk, offset, done) => void setImmediate(done, null, chunk.length - offset),
      writeSync: (chunk, offset) => chunk.length - offset,
    },
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  })
  const timeouts = { handshake: 5000, head: 10_000, idle: 60_000, connect: 2000, halfClosed: 30_000 }
  const listener = {
    settings: {
      config: {
        app: { kind: 'tcp', host: '127.0.0.1', port: 1 },
        timeouts,
        limits: { bodyRate: 16 },
        paths: { allow: new Set(), ignoreCase: false, overrideHeaders: false },
      },
      policy: compiler.finish(1),
      headLimits: { bytes: 65_536, headers: 100 },
      tokens: undefined,
      drain: 0,
      own: { lease: { validUntil: Number.POSITIVE_INFINITY } },
      forwarders: new Set<string>(),
    },
    name: '0.0.0.0:7443',
    port: 7443,
    appHost: '127.0.0.1:1',
    registry,
    clock: systemClock,
    randomHex: createRandomHex(randomFillSync),
    log,
    ring,
    metrics: metrics.listener('0.0.0.0:7443', 'http1'),
    limiter: createRateLimiter(),
    backlog: createBacklog(systemClock),
    connectionClosed() {},
  } as unknown as InboundListenerState
  const origin = {
    listener: '0.0.0.0:7443',
    direction: 'inbound',
    protocol: 'http1',
    peer: {
      id: id.value,
      certificate: {
        fingerprint: 'ab'.repeat(32),
        spkiHash: '',
        serial: '1f',
        notBefore: 0,
        notAfter: 2e12,
        sanUris: [],
        sanDns: [],
        sanEmails: [],
      },
      authorities: [],
    },
    sourceIp: '10.1.2.3',
    tls: { version: 'TLSv1.3', group: '' },
  } as const
  const callers = Array.from({ length: 8 }, () => {
    const caller = new DeadSocket()
    const service = new InboundService(listener, origin, metrics.peer('shop', 'cart'), 'spiffe://example.org/ns/shop/sa/catalog', 2e12)
    const app = new DeadSocket()
    const upstream = new Http1Upstream(
      (onread) => {
        app.onread = onread
        return app as unknown as Socket
      },
      () => {},
    )
    Object.defineProperty(service, 'acquire', { value: (exchange: { attach(to: Http1Upstream): void }) => exchange.attach(upstream) })
    return { caller, connection: new Http1Connection(caller as unknown as Socket, service) }
  })
  async function run(requests: number): Promise<number> {
    const begun = process.cpuUsage()
    for (let done = 0; done < requests; done += callers.length) {
      for (const { caller } of callers) caller.emit('data', REQUEST)
      await (done % 512 === 0 ? new Promise((resolve) => void setImmediate(resolve)) : Promise.resolve())
    }
    const { user, system } = process.cpuUsage(begun)
    return (user + system) / requests
  }
  return {
    run,
    answered: (most) => ring.recent(most).filter(({ decision, status }) => decision?.allow === true && status === 200).length,
  }
}

if (import.meta.main) {
  const bench = createBench()
  for (let round = 0; round < 8; round++) console.log(`${(await bench.run(100_000)).toFixed(2)} µs CPU a request, all threads`)
  process.exit(0)
}
