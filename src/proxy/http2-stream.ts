/** One HTTP/2 request with what was decided about it: what records, explanations and the registry ask of it. */
import type { ReasonCode } from '#base/reasons'
import { headerValue } from '#http/header-list'
import type { TokenPrincipal } from '#identity/peer'
import type { Decision } from '#policy/decision'
import type { RequestFacts } from '#policy/facts'
import type { Http2Exchange } from '#wire/http2/relay-exchange'
import type { Http2Request } from '#wire/http2/request-fields'
import { BodyPace } from './body-pace.ts'
import { readGrpcTimeout } from './grpc-timeout.ts'
import { type Lapse, lapseNote } from './lapse.ts'
import type { RecordedExchange } from './record.ts'
import type { ConnectionDescription } from './registry.ts'
import type { Decidable } from './request-path.ts'

export class Http2Stream implements Decidable, RecordedExchange {
  readonly exchange: Http2Exchange<unknown>
  readonly request: Http2Request
  readonly startedAt: number
  readonly startedMono: number
  /** Ms since the epoch: when a gRPC call has run out of its time. */
  readonly deadline: number
  requestId = ''
  traceparent = ''
  forwardedCertificates = ''
  host = ''
  path = ''
  token: TokenPrincipal | undefined
  facts: RequestFacts | undefined
  decision: Decision | undefined
  decideUs = 0
  retryAfter = 0
  /** It counts among what its caller's identity has under way. */
  counted = false
  /** It may finish, but no longer than this. */
  lapse: Lapse | undefined
  #pace: BodyPace | undefined
  #readerPace: BodyPace | undefined

  constructor(exchange: Http2Exchange<unknown>, request: Http2Request, startedAt: number, startedMono: number) {
    this.exchange = exchange
    this.request = request
    this.startedAt = startedAt
    this.startedMono = startedMono
    const timeout = request.grpc ? headerValue(request.headers, 'grpc-timeout') : undefined
    this.deadline = timeout === undefined ? Infinity : startedAt + (readGrpcTimeout(timeout) ?? Infinity)
  }

  get status(): number {
    return this.exchange.status
  }

  get grpcStatus(): number {
    return this.exchange.grpcStatus
  }

  get reason(): ReasonCode | undefined {
    return this.exchange.reason
  }

  get detail(): string {
    const { detail } = this.exchange
    return detail === '' && this.lapse !== undefined ? lapseNote(this.lapse.why) : detail
  }

  get bytesIn(): number {
    return this.exchange.bytesIn
  }

  get bytesOut(): number {
    return this.exchange.bytesOut
  }

  /** Why the body comes too slowly, as long as nothing was answered; then, why the response is taken too slowly. gRPC may be silent both ways. */
  paceOfBodies(now: number, window: number, rate: number): ReasonCode | undefined {
    const { exchange, request } = this
    if (request.grpc) return undefined
    if (exchange.status !== 0) return this.#stalls(now, window, rate) ? 'ERR_DOWNSTREAM_STALLED' : undefined
    this.#pace ??= new BodyPace(this.startedAt)
    return this.#pace.check(now, exchange.bytesIn, !exchange.awaitsBody, window, rate)
  }

  #stalls(now: number, window: number, rate: number): boolean {
    const { awaitsReader, bytesTaken } = this.exchange
    if (!awaitsReader && this.#readerPace === undefined) return false
    this.#readerPace ??= new BodyPace(now, bytesTaken)
    return this.#readerPace.check(now, bytesTaken, !awaitsReader, window, rate) !== undefined
  }

  describe(): ConnectionDescription['exchange'] {
    return { requestId: this.requestId, method: this.request.method, path: this.path, startedAt: this.startedAt }
  }
}
