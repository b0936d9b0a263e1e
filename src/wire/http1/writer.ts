/** The fixed parts of what is written: chunk framing, trailers, status lines (RFC 9112 §4, §7.1). */
import type { HeaderList } from '#http/header-list'
import { reasonPhrase } from '#http/reason-phrases'

export const CRLF = '\r\n'

/** Ends a chunked body that has no trailers. */
export const LAST_CHUNK = '0\r\n\r\n'

/** What goes before a chunk's data; CRLF goes after it. @param size bytes, more than 0: a chunk of 0 ends the body */
export function writeChunkHead(size: number): string {
  return `${size.toString(16)}\r\n`
}

/** The last chunk with its trailers. */
export function writeTrailers(headers: HeaderList): string {
  let text = '0\r\n'
  for (let index = 0; index < headers.names.length; index++) {
    text += `${headers.names[index] ?? ''}: ${headers.values[index] ?? ''}\r\n`
  }
  return `${text}\r\n`
}

/** With the registered phrase unless another is given. */
export function writeStatusLine(status: number, phrase = reasonPhrase(status)): string {
  return `HTTP/1.1 ${status} ${phrase}\r\n`
}
