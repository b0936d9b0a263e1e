/** Makes a header list of the fields of a trailer section, and refuses those that are malformed (RFC 9113 §8.1). */
import { type Refusal, refusal } from '#base/result'
import { type HeaderList, addHeader, createHeaderList } from '#http/header-list'
import {
  BAD_NAME,
  CONNECTION_SPECIFIC,
  CONTENT_LENGTH,
  COOKIE,
  type Field,
  HEAD_ONLY,
  HOST,
  PSEUDO_UNKNOWN,
  SOUND,
  TE,
} from './hpack/field.ts'
import type { FieldSink } from './hpack/decoder.ts'

/** As `RequestFields`: `begin`, then each field, then `finish`. */
export class TrailerFields implements FieldSink {
  readonly #mostHeaders: number
  #fault: Refusal | undefined
  #headers: HeaderList = createHeaderList()

  constructor(mostHeaders: number) {
    this.#mostHeaders = mostHeaders
  }

  begin(): void {
    this.#fault = undefined
    this.#headers = createHeaderList()
  }

  onField({ name, value, kind, fault }: Field): void {
    if (this.#fault !== undefined) return
    if (fault !== SOUND) this.#fault = refusal(fault === BAD_NAME ? 'ERR_HTTP_HEADER_NAME' : 'ERR_HTTP_HEADER_VALUE', name)
    else if (kind !== 0 && kind <= PSEUDO_UNKNOWN) this.#fault = refusal('ERR_HTTP2_PSEUDO_HEADER', 'in trailers')
    else if (kind === CONNECTION_SPECIFIC || kind === TE) this.#fault = refusal('ERR_HTTP2_CONNECTION_HEADER', name)
    else if (kind === HOST || kind === CONTENT_LENGTH || kind === COOKIE || kind === HEAD_ONLY)
      this.#fault = refusal('ERR_HTTP_TRAILER', name)
    else if (this.#headers.names.length >= this.#mostHeaders) this.#fault = refusal('ERR_HTTP_TOO_MANY_HEADERS', 'trailers')
    else addHeader(this.#headers, name, value)
  }

  finish(): { readonly ok: true; readonly headers: HeaderList } | Refusal {
    return this.#fault ?? { ok: true, headers: this.#headers }
  }
}
