/** HTTP/2 frames for tests, written and read by hand: what the codec makes is judged by code that is not its own. */
import { HUFFMAN_LENGTHS } from '#wire/http2/hpack/huffman'
import { HpackDecoder } from '#wire/http2/hpack/decoder'
import { createScratch } from '#wire/http2/hpack/cursor'

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export const TYPES = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const

export const ACK = 1
export const END_STREAM = 1
export const END_HEADERS = 4
export const PADDED = 8
export const PRIORITY = 32

export interface Frame {
  readonly type: keyof typeof TYPES | number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

export function frame(type: keyof typeof TYPES | number, flags: number, stream: number, payload: Uint8Array | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'hex') : Buffer.from(payload)
  const head = Buffer.alloc(9)
  head.writeUIntBE(body.length, 0, 3)
  head[3] = typeof type === 'number' ? type : TYPES[type]
  head[4] = flags
  head.writeUInt32BE(stream >>> 0, 5)
  return Buffer.concat([head, body])
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export const settings = (...pairs: readonly (readonly [number, number])[]): Buffer =>
  frame('SETTINGS', 0, 0, Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id]), uint32(value)]))))
export const settingsAck = (): Buffer => frame('SETTINGS', ACK, 0)
export const ping = (payload = '0102030405060708'): Buffer => frame('PING', 0, 0, payload)
export const reset = (stream: number, code = 8): Buffer => frame('RST_STREAM', 0, stream, uint32(code))
export const windowUpdate = (stream: number, increment: number): Buffer => frame('WINDOW_UPDATE', 0, stream, uint32(increment))
export const goaway = (last: number, code = 0): Buffer => frame('GOAWAY', 0, 0, Buffer.concat([uint32(last), uint32(code)]))
export const data = (stream: number, bytes: number | Uint8Array, end = false): Buffer =>
  frame('DATA', end ? END_STREAM : 0, stream, typeof bytes === 'number' ? Buffer.alloc(bytes, 0x61) : bytes)
export const paddedData = (stream: number, bytes: number, padding: number, end = false): Buffer =>
  frame(
    'DATA',
    PADDED | (end ? END_STREAM : 0),
    stream,
    Buffer.concat([Buffer.from([padding]), Buffer.alloc(bytes, 0x61), Buffer.alloc(padding)]),
  )
export const headers = (stream: number, block: Uint8Array, end = true): Buffer =>
  frame('HEADERS', END_HEADERS | (end ? END_STREAM : 0), stream, block)

export type Fields = readonly (readonly [string, string])[]

/** A block of literals without indexing, which needs no table on either side. */
export function literals(
  fields: Fields,
  { huffman = false, form = 0 }: { readonly huffman?: boolean; readonly form?: number } = {},
): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [
      Buffer.from([form]),
      hpackString(Buffer.from(name, 'latin1'), huffman),
      hpackString(Buffer.from(value, 'latin1'), huffman),
    ]),
  )
}

export function hpackString(bytes: Buffer, huffman = false): Buffer {
  const coded = huffman ? huffmanEncode(bytes) : bytes
  return Buffer.concat([hpackInteger(coded.length, 7, huffman ? 0x80 : 0), coded])
}

export function hpackInteger(value: number, prefix: number, pattern = 0): Buffer {
  const mask = 2 ** prefix - 1
  if (value < mask) return Buffer.from([pattern | value])
  const bytes = [pattern | mask]
  let rest = value - mask
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(128 | (rest % 128))
  return Buffer.from([...bytes, rest])
}

const CODES: readonly string[] = canonicalCodes()

function canonicalCodes(): string[] {
  const codes: string[] = []
  let code = 0
  let last = 0
  const symbols = Array.from({ length: 257 }, (_, symbol) => symbol).sort((a, b) => HUFFMAN_LENGTHS[a]! - HUFFMAN_LENGTHS[b]! || a - b)
  for (const symbol of symbols) {
    const length = HUFFMAN_LENGTHS[symbol]!
    code *= 2 ** (length - last)
    last = length
    codes[symbol] = code.toString(2).padStart(length, '0')
    code++
  }
  return codes
}

/** Bits as text: slow, and plain to see that it is right. */
export function huffmanEncode(bytes: Uint8Array): Buffer {
  let bits = ''
  for (const byte of bytes) bits += CODES[byte]
  bits += '1'.repeat((8 - (bits.length % 8)) % 8)
  return Buffer.from(bits.match(/.{8}/g)?.map((byte) => Number.parseInt(byte, 2)) ?? [])
}

/** The frames in a piece of output; throws if it does not end with one. */
export function framesOf(bytes: Buffer): Frame[] {
  const found: Frame[] = []
  let at = 0
  while (at < bytes.length) {
    const length = bytes.readUIntBE(at, 3)
    const type = bytes[at + 3]!
    const end = at + 9 + length
    if (end > bytes.length) throw new Error('the output ends within a frame')
    const name = (Object.entries(TYPES).find(([, number]) => number === type)?.[0] ?? type) as Frame['type']
    found.push({ type: name, flags: bytes[at + 4]!, stream: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, end) })
    at = end
  }
  return found
}

/** The fields of a block that was encoded with the decoder's table. */
export function decodeBlock(decoder: HpackDecoder, block: Buffer): [string, string][] {
  const fields: [string, string][] = []
  const outcome = decoder.decode(block, 0, block.length, { onField: ({ name, value }) => fields.push([name, value]) })
  if (outcome !== 'complete') throw new Error(`${outcome}: ${decoder.detail}`)
  return fields
}

export function createTestDecoder(listLimit = 65_536): HpackDecoder {
  return new HpackDecoder(createScratch(), listLimit)
}

/** One line for each frame, to be compared: `HEADERS 1 end :status: 200`. Header blocks are joined with what continues them. */
export function describeFrames(bytes: Buffer, decoder = createTestDecoder()): string[] {
  const lines: string[] = []
  let block: { stream: number; end: boolean; parts: Buffer[] } | undefined
  for (const { type, flags, stream, payload } of framesOf(bytes)) {
    if (type === 'HEADERS' || type === 'CONTINUATION') {
      block ??= { stream, end: (flags & END_STREAM) !== 0, parts: [] }
      block.parts.push(payload)
      if ((flags & END_HEADERS) === 0) continue
      const fields = decodeBlock(decoder, Buffer.concat(block.parts)).map(([name, value]) => `${name}: ${value}`)
      lines.push(`HEADERS ${stream}${block.end ? ' end' : ''} ${fields.join(', ')}`.trimEnd())
      block = undefined
    } else if (type === 'DATA') lines.push(`DATA ${stream}${flags & END_STREAM ? ' end' : ''} ${payload.length}`)
    else if (type === 'RST_STREAM') lines.push(`RST_STREAM ${stream} ${payload.readUInt32BE()}`)
    else if (type === 'WINDOW_UPDATE') lines.push(`WINDOW_UPDATE ${stream} ${payload.readUInt32BE()}`)
    else if (type === 'GOAWAY') lines.push(`GOAWAY ${payload.readUInt32BE()} ${payload.readUInt32BE(4)}`)
    else if (type === 'SETTINGS' && flags & ACK) lines.push('SETTINGS ack')
    else if (type === 'SETTINGS') {
      const pairs: string[] = []
      for (let at = 0; at < payload.length; at += 6) pairs.push(`${payload.readUInt16BE(at)}=${payload.readUInt32BE(at + 2)}`)
      lines.push(`SETTINGS ${pairs.join(' ')}`.trimEnd())
    } else if (type === 'PING') lines.push(`PING${flags & ACK ? ' ack' : ''} ${payload.toString('hex')}`)
    else lines.push(`${type} ${stream} ${payload.length}`)
  }
  return lines
}

/** All that `take` gives, in one piece. */
export function takeAll(take: () => Buffer | undefined): Buffer {
  const pieces: Buffer[] = []
  for (let piece = take(); piece !== undefined; piece = take()) pieces.push(piece)
  return Buffer.concat(pieces)
}
