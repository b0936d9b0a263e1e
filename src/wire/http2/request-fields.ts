/** Makes a request head of decoded fields, and refuses those that are malformed (RFC 9113 §8.1 to §8.3). */
import { type Refusal, refusal } from '#base/result'
import { parseLength } from '#http/content-length'
import { isValidAuthority } from '#http/authority'
import { isToken } from '#http/characters'
import { type HeaderList, createHeaderList } from '#http/header-list'
import type { RequestHead } from '#http/request-head'
import {
  BAD_NAME,
  CONNECTION_SPECIFIC,
  CONTENT_LENGTH,
  CONTENT_TYPE,
  COOKIE,
  type Field,
  HOST,
  PSEUDO_AUTHORITY,
  PSEUDO_METHOD,
  PSEUDO_PATH,
  PSEUDO_SCHEME,
  PSEUDO_STATUS,
  PSEUDO_UNKNOWN,
  SOUND,
  TE,
} from './hpack/field.ts'
import type { FieldSink } from './hpack/decoder.ts'

export interface Http2Request extends RequestHead {
  readonly ok: true
  readonly scheme: 'http' | 'https'
  /** Without `host`, which `authority` stands for, and without `te`. Crumbs of `cookie` are one value again (RFC 9113 §8.2.3). */
  readonly headers: HeaderList
  /** Of Content-Length; -1 if there is none. */
  readonly contentLength: number
  /** `te: trailers` came, which gRPC asks for. */
  readonly teTrailers: boolean
  /** Content type `application/grpc`, alone or with a `+` or `;` behind it. */
  readonly grpc: boolean
  /** Names of fields that the caller wants never to be indexed; undefined if there are none. */
  readonly sensitive: ReadonlySet<string> | undefined
}

/** 1 for a visible ASCII character that is no `#`: a fragment is never sent. */
const TARGET = Uint8Array.from({ length: 256 }, (_, code) => (code > 0x20 && code < 0x7f && code !== 0x23 ? 1 : 0))
const SLASH = 0x2f

/** Takes the fields of one head after the other: `begin`, then each field, then `finish`. */
export class RequestFields implements FieldSink {
  readonly #mostHeaders: number
  readonly #anyAuthority: boolean
  #fault: Refusal | undefined
  #method: string | undefined
  #scheme: string | undefined
  #authority: string | undefined
  #path: string | undefined
  #host: string | undefined
  #contentLength = -1
  #teTrailers = false
  #grpc = false
  #cookieAt = -1
  #seen = 0
  #count = 0
  #headers: HeaderList = createHeaderList()
  #sensitive: Set<string> | undefined
  /** Callers keep to one authority: it is judged once. */
  #lastAuthority: string | undefined

  /**
   * @param mostHeaders fields of a head, pseudo-headers aside
   * @param anyAuthority see `Http2ServerOptions`
   */
  constructor(mostHeaders: number, anyAuthority = false) {
    this.#mostHeaders = mostHeaders
    this.#anyAuthority = anyAuthority
  }

  begin(): void {
    this.#fault = undefined
    this.#method = this.#scheme = this.#authority = this.#path = this.#host = undefined
    this.#contentLength = this.#cookieAt = -1
    this.#teTrailers = this.#grpc = false
    this.#seen = this.#count = 0
    this.#headers = createHeaderList()
    this.#sensitive = undefined
  }

  onField(field: Field, neverIndexed: boolean): void {
    if (this.#fault !== undefined) return
    const { name, value, kind } = field
    if (field.fault !== SOUND) {
      this.#fault = refusal(field.fault === BAD_NAME ? 'ERR_HTTP_HEADER_NAME' : 'ERR_HTTP_HEADER_VALUE', name)
      return
    }
    if (kind !== 0 && kind <= PSEUDO_UNKNOWN) return this.#onPseudo(field)
    if (++this.#count > this.#mostHeaders) {
      this.#fault = refusal('ERR_HTTP_TOO_MANY_HEADERS', `more than ${this.#mostHeaders}`)
      return
    }
    if (field.single !== 0) {
      if ((this.#seen & field.single) !== 0) {
        this.#fault = refusal('ERR_HTTP_HEADER_REPEATED', name)
        return
      }
      this.#seen |= field.single
    }
    if (neverIndexed) {
      this.#sensitive ??= new Set()
      this.#sensitive.add(name)
    }
    switch (kind) {
      case HOST:
        this.#host = value
        return
      case TE:
        if (value !== 'trailers') this.#fault = refusal('ERR_HTTP2_CONNECTION_HEADER', 'te')
        this.#teTrailers = true
        return
      case CONNECTION_SPECIFIC:
        this.#fault = refusal('ERR_HTTP2_CONNECTION_HEADER', name)
        return
      case CONTENT_LENGTH:
        this.#contentLength = parseLength(value)
        if (this.#contentLength === -1) this.#fault = refusal('ERR_HTTP_CONTENT_LENGTH')
        break
      case CONTENT_TYPE:
        this.#grpc = isGrpc(value)
        break
      case COOKIE:
        if (this.#cookieAt !== -1) {
          const { values } = this.#headers
          values[this.#cookieAt] = `${values[this.#cookieAt]}; ${value}`
          return
        }
        this.#cookieAt = this.#headers.names.length
        break
    }
    this.#headers.names.push(name)
    this.#headers.values.push(value)
  }

  /** @param endStream there is no body */
  finish(endStream: boolean): Http2Request | Refusal {
    if (this.#fault !== undefined) return this.#fault
    const method = this.#method
    const scheme = this.#scheme
    const target = this.#path
    if (method === undefined || scheme === undefined || target === undefined) return badPseudo('one is missing')
    if (scheme !== 'http' && scheme !== 'https') return badPseudo(':scheme is neither http nor https')
    const authority = this.#authority ?? this.#host ?? (this.#anyAuthority ? '' : undefined)
    if (authority === undefined) return refusal('ERR_HTTP_HOST', 'neither :authority nor host')
    if (authority !== this.#lastAuthority && !this.#anyAuthority) {
      if (!isValidAuthority(authority)) return refusal('ERR_HTTP_HOST', ':authority')
      this.#lastAuthority = authority
    }
    const host = this.#host
    if (host !== undefined && host !== authority && host.toLowerCase() !== authority.toLowerCase()) {
      return refusal('ERR_HTTP_HOST', 'host differs from :authority')
    }
    const question = checkTarget(target, method)
    if (typeof question === 'object') return question
    if (endStream && this.#contentLength > 0) return refusal('ERR_HTTP2_CONTENT_LENGTH', 'content-length without a body')
    return {
      ok: true,
      method,
      target,
      path: question === -1 ? target : target.slice(0, question),
      query: question === -1 ? undefined : target.slice(question + 1),
      authority,
      headers: this.#headers,
      scheme,
      contentLength: this.#contentLength,
      teTrailers: this.#teTrailers,
      grpc: this.#grpc,
      sensitive: this.#sensitive,
    }
  }

  #onPseudo({ name, value, kind }: Field): void {
    if (this.#count > 0) this.#fault = badPseudo(`${name} after another field`)
    else if (kind === PSEUDO_METHOD && this.#method === undefined) {
      this.#method = value
      // Tunnels through HTTP/2 are not offered: SETTINGS_ENABLE_CONNECT_PROTOCOL is never sent.
      if (value === 'CONNECT' || !isToken(value)) this.#fault = refusal('ERR_HTTP_METHOD', value === 'CONNECT' ? value : '')
    } else if (kind === PSEUDO_SCHEME && this.#scheme === undefined) this.#scheme = value
    else if (kind === PSEUDO_AUTHORITY && this.#authority === undefined) this.#authority = value
    else if (kind === PSEUDO_PATH && this.#path === undefined) this.#path = value
    else this.#fault = badPseudo(kind === PSEUDO_UNKNOWN || kind === PSEUDO_STATUS ? 'one that requests do not have' : `${name} twice`)
  }
}

/** Where the `?` stands, -1 without one; or why it is no target in origin form (`*` for OPTIONS). */
function checkTarget(target: string, method: string): number | Refusal {
  let question = -1
  for (let index = 0; index < target.length; index++) {
    const code = target.charCodeAt(index)
    if (TARGET[code] !== 1)
      return code === 0x23 ? refusal('ERR_PATH_FRAGMENT') : refusal('ERR_HTTP_TARGET', 'a character that is not allowed')
    if (code === 0x3f && question === -1) question = index
  }
  if (target.charCodeAt(0) === SLASH || (target === '*' && method === 'OPTIONS')) return question
  return refusal('ERR_HTTP_TARGET', ':path does not begin with a slash')
}

/** Content types compare without case (RFC 9110 §8.3.1). */
export function isGrpc(contentType: string): boolean {
  return contentType === 'application/grpc' || /^application\/grpc(?:[+; \t]|$)/i.test(contentType)
}

function badPseudo(detail: string): Refusal {
  return refusal('ERR_HTTP2_PSEUDO_HEADER', detail)
}
