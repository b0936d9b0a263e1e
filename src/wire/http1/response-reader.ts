/** Reads the head of a response from the app, as strictly as that of a request (RFC 9112 §4, §5, §6). */
import { Buffer } from 'node:buffer'
import type { ReasonCode } from '#base/reasons'
import { type Refusal, refusal } from '#base/result'
import { FIELD_VALUE } from '#http/characters'
import { readConnection } from './connection.ts'
import { readFields } from './fields.ts'
import { declaredLength } from './framing.ts'
import { type HeadLimits, UNTIL_CLOSE } from './limits.ts'
import type { Http1Response } from './message.ts'

const LF = 0x0a
const CR = 0x0d

/** `HTTP/1.x SP 3DIGIT` */
const BEFORE_PHRASE = 12

/**
 * Reads one head, final or interim.
 * @param end as `findHeadEnd` gives it
 * @param requestMethod of the request that this answers: HEAD has no body whatever the head says
 */
export function readResponseHead(
  bytes: Buffer,
  start: number,
  end: number,
  limits: HeadLimits,
  requestMethod: string,
): Http1Response | Refusal {
  if (end - start > limits.bytes) return refusal('ERR_RESPONSE_TOO_LARGE', `limit is ${limits.bytes} bytes`)
  const text = bytes.toString('latin1', start, end)
  const minor = text.startsWith('HTTP/1.1 ') ? 1 : text.startsWith('HTTP/1.0 ') ? 0 : -1
  if (minor === -1) return refusal('ERR_RESPONSE_STATUS_LINE', 'version')
  const status = readStatus(text)
  if (status === -1) return refusal('ERR_RESPONSE_STATUS_LINE', 'status')
  let position = start + BEFORE_PHRASE
  while (position < end && FIELD_VALUE[bytes[position] as number] === 1) position++
  if (bytes[position] !== CR || bytes[position + 1] !== LF) return refusal('ERR_RESPONSE_STATUS_LINE', 'reason phrase')
  // The space before an empty phrase is often left out; the head is written anew, so nothing hangs on it.
  if (position > start + BEFORE_PHRASE && text.charCodeAt(BEFORE_PHRASE) !== 0x20) return refusal('ERR_RESPONSE_STATUS_LINE', 'status')

  const fields = readFields(bytes, text, start, position + 2, end, limits, false)
  if (!fields.ok) return responseFault(fields)
  const declared = declaredLength(fields, minor)
  if (typeof declared === 'object') return refusal('ERR_RESPONSE_FRAMING', declared.reason)
  const connection = readConnection(fields.connection)
  if (!connection.ok) return refusal('ERR_RESPONSE_HEADER', 'connection')

  const bodiless = status < 200 || status === 204
  // RFC 9112 §6.1 forbids it, and an app that means it would send chunks where nobody reads any.
  if (bodiless && fields.transferEncoding !== undefined) return refusal('ERR_RESPONSE_FRAMING', 'Transfer-Encoding with 1xx or 204')
  const bodyLength = bodiless || status === 304 || requestMethod === 'HEAD' ? 0 : (declared ?? UNTIL_CLOSE)
  return {
    ok: true,
    status,
    reasonPhrase: text.slice(BEFORE_PHRASE + 1, position - start),
    minor,
    headers: fields.headers,
    bodyLength,
    keepAlive: minor === 1 && !connection.close && bodyLength !== UNTIL_CLOSE,
    hopByHop: connection.hopByHop,
    upgradeWebsocket: status === 101 && connection.upgrade && fields.upgrade?.toLowerCase() === 'websocket',
  }
}

function readStatus(text: string): number {
  let status = 0
  for (let index = 9; index < BEFORE_PHRASE; index++) {
    const digit = text.charCodeAt(index) - 0x30
    if (!(digit >= 0 && digit <= 9)) return -1
    status = status * 10 + digit
  }
  return status >= 100 && status <= 599 ? status : -1
}

function responseFault(fault: Refusal): Refusal {
  const reason: ReasonCode =
    fault.reason === 'ERR_HTTP_TOO_MANY_HEADERS'
      ? 'ERR_RESPONSE_TOO_LARGE'
      : fault.reason === 'ERR_HTTP_HEADER_REPEATED'
        ? 'ERR_RESPONSE_FRAMING'
        : 'ERR_RESPONSE_HEADER'
  return refusal(reason, fault.detail)
}
