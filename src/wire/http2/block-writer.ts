/** Writes the header blocks of responses, which never use a dynamic table: relayed ones, and answers of our own (RFC 7541 §6). */
import type { HeaderList } from '#http/header-list'
import { writeInteger, writeText } from './hpack/encoder.ts'
import { STATIC_NAMES, STATIC_TABLE } from './hpack/static-table.ts'
import { beginBlock, endBlock } from './frame-writer.ts'
import type { Output } from './output.ts'

/** A dynamic table size update to 0: what the peer's decoder must be told, whatever size its settings allow it. */
const NO_TABLE = 0x20
const LITERAL = 0x00
/** What one field can need beside its characters. */
const FIELD_CODE_BYTES = 16
const STATUS_BYTES = 8

/** What a caller is told without the upstream: a head alone, without a body, which would spend a window that the app counts on. */
export interface LocalAnswer {
  readonly status: number
  /** With a status of 200, the answer is trailers-only of gRPC. */
  readonly grpcStatus?: number
  /** `''` for none. */
  readonly requestId: string
  /** `www-authenticate`, `retry-after` and the like. */
  readonly headers?: HeaderList
}

/** A block that uses no table, in whatever pieces it is held. */
export interface StatelessBlock {
  /** Bytes that `writeTo` writes. */
  readonly length: number
  writeTo(output: Output): void
}

export function writeLocalAnswer(output: Output, streamId: number, answer: LocalAnswer): void {
  const { status, grpcStatus, requestId, headers } = answer
  let capacity = 1 + STATUS_BYTES + 5 * FIELD_CODE_BYTES + 64 + requestId.length
  if (headers !== undefined) capacity += headersCapacity(headers)
  const start = beginBlock(output, capacity)
  output.bytes[output.position++] = NO_TABLE
  writeStatus(output, status)
  if (grpcStatus !== undefined) {
    writeField(output, 'content-type', 'application/grpc')
    writeField(output, 'grpc-status', String(grpcStatus))
  }
  if (headers !== undefined) writeFields(output, headers)
  if (requestId !== '') writeField(output, 'x-request-id', requestId)
  endBlock(output, start, streamId, true)
}

/** The head of a response of our own, after which data follows. */
export function writeHead(output: Output, streamId: number, status: number, headers: HeaderList): void {
  const start = beginBlock(output, 1 + STATUS_BYTES + headersCapacity(headers))
  output.bytes[output.position++] = NO_TABLE
  writeStatus(output, status)
  writeFields(output, headers)
  endBlock(output, start, streamId, false)
}

/** The upstream's block, with our own request id at its end where that is not `''`. */
export function writeRelayedBlock(output: Output, streamId: number, block: StatelessBlock, requestId: string, endStream: boolean): void {
  const start = beginBlock(output, 1 + block.length + FIELD_CODE_BYTES + 16 + requestId.length)
  output.bytes[output.position++] = NO_TABLE
  block.writeTo(output)
  if (requestId !== '') writeField(output, 'x-request-id', requestId)
  endBlock(output, start, streamId, endStream)
}

/** Trailers of our own, which end the stream. */
export function writeTrailers(output: Output, streamId: number, headers: HeaderList): void {
  const start = beginBlock(output, 1 + headersCapacity(headers))
  output.bytes[output.position++] = NO_TABLE
  writeFields(output, headers)
  endBlock(output, start, streamId, true)
}

function headersCapacity({ names, values }: HeaderList): number {
  let capacity = 0
  for (let index = 0; index < names.length; index++) {
    capacity += (names[index]?.length ?? 0) + (values[index]?.length ?? 0) + FIELD_CODE_BYTES
  }
  return capacity
}

function writeFields(output: Output, { names, values }: HeaderList): void {
  for (let index = 0; index < names.length; index++) writeField(output, names[index] ?? '', values[index] ?? '')
}

function writeStatus(output: Output, status: number): void {
  const text = String(status)
  const first = STATIC_NAMES.get(':status') ?? 0
  for (let index = first; STATIC_TABLE[index]?.name === ':status'; index++) {
    if (STATIC_TABLE[index]?.value === text) return writeInteger(output, 0x80, 0x7f, index)
  }
  writeInteger(output, LITERAL, 0x0f, first)
  writeText(output, text)
}

/** A literal without indexing. */
function writeField(output: Output, name: string, value: string): void {
  const index = STATIC_NAMES.get(name)
  if (index !== undefined) writeInteger(output, LITERAL, 0x0f, index)
  else {
    output.bytes[output.position++] = LITERAL
    writeText(output, name)
  }
  writeText(output, value)
}
