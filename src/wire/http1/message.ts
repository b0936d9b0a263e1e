/** What the readers make of a head (RFC 9112 §2 to §6). */
import type { HeaderList } from '#http/header-list'
import type { RequestHead } from '#http/request-head'

export interface Http1Request extends RequestHead {
  readonly ok: true
  readonly minor: 0 | 1
  /** Bytes; 0 if there is none; `CHUNKED`. */
  readonly bodyLength: number
  /** The connection may carry another request after this one. Never with HTTP/1.0. */
  readonly keepAlive: boolean
  readonly expectContinue: boolean
  /** A complete WebSocket handshake: GET, HTTP/1.1, `Connection: upgrade`, `Upgrade: websocket`, a key and no body. */
  readonly upgradeWebsocket: boolean
  /** Lower-case names that Connection lists, without `close`, `keep-alive` and `upgrade`; undefined if there are none. */
  readonly hopByHop: readonly string[] | undefined
}

export interface Http1Response {
  readonly ok: true
  /** 100 to 599. */
  readonly status: number
  /** As sent, latin1; may be empty. */
  readonly reasonPhrase: string
  readonly minor: 0 | 1
  readonly headers: HeaderList
  /** Bytes; 0 if there is none (always for HEAD, 1xx, 204 and 304); `CHUNKED`; `UNTIL_CLOSE`. */
  readonly bodyLength: number
  /** The connection may carry another exchange after this one. */
  readonly keepAlive: boolean
  /** As of a request. */
  readonly hopByHop: readonly string[] | undefined
  /** Status 101 with `Connection: upgrade` and `Upgrade: websocket`. */
  readonly upgradeWebsocket: boolean
}
