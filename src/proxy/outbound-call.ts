/** One HTTP/2 request of the app on its way to a server: what waits for a connection, and is tried again where nothing is lost by it. */
import type { ReasonCode } from '#base/reasons'
import type { Peer } from '#identity/peer'
import type { OutgoingRequest } from '#wire/http2/client-codec'
import type { Http2Exchange } from '#wire/http2/relay-exchange'
import type { Endpoint } from './endpoints.ts'
import { grpcStatusOf, http2Answer } from './http2-answers.ts'
import type { Http2Pool, Http2Waiter } from './http2-pool.ts'
import type { Http2Stream } from './http2-stream.ts'
import type { Http2Upstream } from './http2-upstream.ts'

/** Methods of which a request does no more if it is made twice (RFC 9110 §9.2.2), as far as they have no body. */
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const MOST_RETRIES = 3

export class OutboundCall implements Http2Waiter {
  readonly stream: Http2Stream
  readonly tried: Endpoint[] = []
  /** Of the server that it was sent to last. */
  peer: Peer | undefined
  since: number
  readonly #exchange: Http2Exchange<OutboundCall>
  #pool: Http2Pool | undefined
  #request: OutgoingRequest | undefined
  #retries = 0

  constructor(exchange: Http2Exchange<OutboundCall>, stream: Http2Stream) {
    this.#exchange = exchange
    this.stream = stream
    this.since = stream.startedAt
  }

  get wanted(): boolean {
    return !this.#exchange.done
  }

  begin(request: OutgoingRequest, pool: Http2Pool): void {
    this.#request = request
    this.#pool = pool
    pool.acquire(this)
  }

  send(upstream: Http2Upstream): void {
    this.peer = upstream.peer
    if (this.#request !== undefined) this.#exchange.forward(this.#request, upstream.link)
  }

  failed(reason: ReasonCode, detail: string): void {
    this.#exchange.refuse(http2Answer(reason, this.stream.request.grpc), reason, detail)
  }

  /** The server did not look at it: another connection may be tried, whatever it asks for. @param now ms since the epoch */
  retryUnprocessed(now: number): void {
    this.#retry(now)
  }

  /** There will be no answer from where it was sent. Once, and where nothing is done twice by it, that may have been a connection closed just then. */
  onFailure(reason: ReasonCode, detail: string, now: number): void {
    if (reason === 'ERR_UPSTREAM_CLOSED' && this.#retries === 0 && this.#isRepeatable() && this.#retry(now)) return
    // A server that gives up at the deadline says so sooner than our own clock.
    if (now >= this.stream.deadline) this.failed('ERR_GRPC_DEADLINE', detail)
    else this.failed(reason, detail)
  }

  /** Ends it for a reason of ours: refused if nothing was answered yet, else so that it cannot look complete. */
  cut(reason: ReasonCode, detail: string): void {
    if (this.#exchange.status === 0) this.failed(reason, detail)
    else this.#exchange.cut(reason, detail, grpcStatusOf(reason))
  }

  /** It is over. */
  ended(): void {
    this.#pool?.cancel(this)
  }

  #isRepeatable(): boolean {
    const { grpc, method } = this.stream.request
    return !grpc && REPEATABLE.has(method) && this.#exchange.bytesIn === 0 && !this.#exchange.awaitsBody
  }

  #retry(now: number): boolean {
    if (this.#retries >= MOST_RETRIES || this.#pool === undefined || !this.#exchange.rewind()) return false
    this.#retries++
    this.since = now
    this.#pool.acquire(this)
    return true
  }
}
