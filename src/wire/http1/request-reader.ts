/** Reads the head of a request strictly: what two readers could understand differently is refused (RFC 9112 §2, §3, §5, §6). */
import { Buffer } from 'node:buffer'
import { type Refusal, refusal } from '#base/result'
import { isValidAuthority } from '#http/authority'
import { TOKEN } from '#http/characters'
import { readConnection } from './connection.ts'
import { readFields } from './fields.ts'
import { declaredLength } from './framing.ts'
import { oversizedHead } from './head-end.ts'
import type { HeadLimits } from './limits.ts'
import type { Http1Request } from './message.ts'

const LF = 0x0a
const CR = 0x0d
const SP = 0x20
const SLASH = 0x2f
const QUERY = 0x3f

/** The longest that is registered, UPDATEREDIRECTREF, has 17. */
const LONGEST_METHOD = 64

/** Class of a byte in a request target: 0 not allowed, 1 visible ASCII, 2 `?`. `#` is among the first: a fragment is never sent. */
const TARGET = Uint8Array.from({ length: 256 }, (_, code) => (code === QUERY ? 2 : code > SP && code < 0x7f && code !== 0x23 ? 1 : 0))

/**
 * Reads one head, from its request line up to and including its empty line. One empty line before it is ignored (RFC 9112 §2.2).
 * @param end as `findHeadEnd` gives it
 */
export function readRequestHead(bytes: Buffer, start: number, end: number, limits: HeadLimits): Http1Request | Refusal {
  if (end - start > limits.bytes) return oversizedHead(bytes, start, limits)
  // With a line end as the last byte, no loop below can run past it: none of them takes LF for its own.
  if (bytes[end - 1] !== LF) return refusal('ERR_HTTP_LINE_END', 'the head has no empty line at its end')
  const base = bytes[start] === CR && bytes[start + 1] === LF ? start + 2 : start
  const text = bytes.toString('latin1', base, end)

  let position = base
  while (TOKEN[bytes[position] as number] === 1) position++
  if (position === base || position - base > LONGEST_METHOD || bytes[position] !== SP) return lineFault(bytes, position, 'method')
  const method = readMethod(text, position - base)

  const targetStart = ++position
  let query = -1
  while (TARGET[bytes[position] as number] === 1) position++
  if (bytes[position] === QUERY) {
    query = position
    while (TARGET[bytes[position] as number] !== 0) position++
  }
  if (position === targetStart || bytes[position] !== SP) return targetFault(bytes, position)
  const versionStart = position - base
  const minor = text.startsWith(' HTTP/1.1\r\n', versionStart) ? 1 : text.startsWith(' HTTP/1.0\r\n', versionStart) ? 0 : -1
  if (minor === -1) return versionFault(text, versionStart)
  if (method === 'CONNECT' || method === 'PRI') return refusal('ERR_HTTP_METHOD', method)

  const fields = readFields(bytes, text, base, position + 11, end, limits, true)
  if (!fields.ok) return fields
  const { host } = fields
  if (host === undefined ? minor === 1 : !isValidAuthority(host)) return refusal('ERR_HTTP_HOST')

  const target = text.slice(targetStart - base, position - base)
  let path = query === -1 ? target : text.slice(targetStart - base, query - base)
  let authority = host ?? ''
  if (bytes[targetStart] !== SLASH) {
    if (path === '*') {
      if (method !== 'OPTIONS' || query !== -1) return refusal('ERR_HTTP_TARGET', '`*` is for OPTIONS alone')
    } else {
      const schemeLength = /^https?:\/\//i.exec(path)?.[0].length ?? 0
      if (schemeLength === 0) return refusal('ERR_HTTP_TARGET', 'neither origin form nor absolute form with http or https')
      const slash = path.indexOf('/', schemeLength)
      authority = path.slice(schemeLength, slash === -1 ? path.length : slash)
      if (!isValidAuthority(authority)) return refusal('ERR_HTTP_HOST', 'authority of the target')
      if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) {
        return refusal('ERR_HTTP_HOST', 'Host differs from the authority of the target')
      }
      // RFC 9112 §3.2.4: absolute form without path means the server as a whole for OPTIONS, the root for all others.
      path = slash !== -1 ? path.slice(slash) : method === 'OPTIONS' && query === -1 ? '*' : '/'
    }
  }

  const declared = declaredLength(fields, minor)
  if (typeof declared === 'object') return declared
  const bodyLength = declared ?? 0
  const connection = readConnection(fields.connection)
  if (!connection.ok) return connection
  let expectContinue = false
  if (fields.expect !== undefined) {
    if (fields.expect.toLowerCase() !== '100-continue') return refusal('ERR_HTTP_EXPECT')
    // HTTP/1.0 knows no interim answers, and without a body there is nothing to wait for (RFC 9110 §10.1.1).
    expectContinue = minor === 1 && bodyLength !== 0
  }
  return {
    ok: true,
    method,
    target,
    path,
    query: query === -1 ? undefined : text.slice(query + 1 - base, position - base),
    authority,
    headers: fields.headers,
    minor,
    bodyLength,
    keepAlive: minor === 1 && !connection.close,
    expectContinue,
    upgradeWebsocket:
      connection.upgrade &&
      minor === 1 &&
      bodyLength === 0 &&
      method === 'GET' &&
      fields.websocketKey !== undefined &&
      fields.upgrade?.toLowerCase() === 'websocket',
    hopByHop: connection.hopByHop,
  }
}

/** The commonest methods as constants, so that comparing them later compares pointers. */
function readMethod(text: string, length: number): string {
  if (length === 3 && text.startsWith('GET')) return 'GET'
  if (length === 4 && text.startsWith('POST')) return 'POST'
  return text.slice(0, length)
}

function lineFault(bytes: Buffer, position: number, part: string): Refusal {
  const code = bytes[position]
  if (code === LF || (code === CR && bytes[position + 1] !== LF)) return refusal('ERR_HTTP_LINE_END', `request line, ${part}`)
  return refusal('ERR_HTTP_REQUEST_LINE', part)
}

function targetFault(bytes: Buffer, position: number): Refusal {
  const code = bytes[position]
  if (code === 0x23) return refusal('ERR_PATH_FRAGMENT')
  if (code === CR || code === LF) return lineFault(bytes, position, 'no version after the target')
  return refusal('ERR_HTTP_TARGET', code === SP ? 'empty' : 'a character that is not allowed')
}

/** A version that is well-formed but not ours is answered apart from a line that is none. */
function versionFault(text: string, start: number): Refusal {
  const rest = text.slice(start, start + 11)
  if (/^ HTTP\/\d\.\d\r\n/.test(rest)) return refusal('ERR_HTTP_VERSION', rest.slice(1, 9))
  const bareEnd = /^ HTTP\/1\.[01](?:\n|\r(?!\n))/.test(rest)
  return bareEnd ? refusal('ERR_HTTP_LINE_END', 'request line') : refusal('ERR_HTTP_REQUEST_LINE', 'version')
}
