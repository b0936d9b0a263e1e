/**
 * Mutated HTTP/2 conversations, from both sides of a relay: nothing throws, whatever is sent on is whole and decodes, every exchange ends
 * exactly once, and no head reaches the app that was not well-formed.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { REASONS } from '#base/reasons'
import {
  data,
  END_HEADERS,
  type Fields,
  frame,
  goaway,
  headers,
  literals,
  paddedData,
  ping,
  PREFACE,
  reset,
  settings,
  settingsAck,
  windowUpdate,
} from '../support/http2-frames.ts'
import { asCame, type TestExchange } from '../support/http2-relay.ts'
import { grpcFields, relayInMemory, requestFields } from '../support/relay-in-memory.ts'

const STREAMS = join(import.meta.dirname, '..', '..', '..', 'shared', 'conformance', 'http2-streams')

/** mulberry32. */
function createDice(seed: number): (sides: number) => number {
  let state = seed | 0
  return (sides) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}

type Dice = (sides: number) => number

function oneOf<T>(dice: Dice, values: readonly T[]): T {
  return values[dice(values.length)] as T
}

const FIELDS: Fields = [
  ['cookie', 'a=1'],
  ['cookie', 'b=2'],
  ['content-length', '5'],
  ['te', 'trailers'],
  ['te', 'gzip'],
  ['host', 'cart.shop'],
  ['host', 'other'],
  ['connection', 'close'],
  ['x-postern-principal', 'forged'],
  ['X-Upper', 'a'],
  ['x-line', 'a\r\nb'],
  ['x-long', 'v'.repeat(5000)],
  [':path', '/b'],
  [':protocol', 'websocket'],
  ['authorization', 'Bearer x'],
  ['grpc-status', '7'],
  ['', ''],
]

function block(dice: Dice, base: Fields): Buffer {
  const fields = dice(3) === 0 ? [...base, ...Array.from({ length: dice(4) }, () => oneOf(dice, FIELDS))] : base
  const bytes = literals(fields, { huffman: dice(2) === 0, form: oneOf(dice, [0x00, 0x10, 0x40]) })
  if (dice(6) === 0) return Buffer.concat([Buffer.from([0x20]), bytes])
  if (dice(6) === 0) return Buffer.concat([bytes, Buffer.from([0xbe, 0xbf])])
  return bytes
}

function nextFrame(dice: Dice, base: Fields): Buffer {
  const stream = 1 + 2 * dice(6)
  const end = dice(2) === 0
  switch (dice(12)) {
    case 0:
    case 1:
    case 2:
      return headers(stream, block(dice, base), end)
    case 3: {
      const bytes = block(dice, base)
      const cut = dice(bytes.length + 1)
      return Buffer.concat([
        frame('HEADERS', end ? 1 : 0, stream, bytes.subarray(0, cut)),
        frame('CONTINUATION', END_HEADERS, stream, bytes.subarray(cut)),
      ])
    }
    case 4:
    case 5:
      return data(stream, dice(2000), end)
    case 6:
      return paddedData(stream, dice(200), dice(256), end)
    case 7:
      return oneOf(dice, [reset(stream, dice(14)), ping(), settingsAck(), goaway(dice(12), dice(14))])
    case 8:
      return windowUpdate(dice(2) === 0 ? 0 : stream, oneOf(dice, [0, 1, 100, 65_535, 0x7fff_ffff]))
    case 9:
      return settings([oneOf(dice, [1, 2, 3, 4, 5, 6, 8, 99]), oneOf(dice, [0, 1, 100, 4096, 65_535, 0x7fff_ffff, 0xffff_ffff])])
    case 10:
      return frame(dice(14), dice(256), dice(4), Buffer.alloc(dice(12), dice(256)))
    default:
      return data(stream, 5, true)
  }
}

function mutate(dice: Dice, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  for (let count = dice(4); count > 0 && copy.length > 0; count--) copy[dice(copy.length)] = dice(256)
  return dice(8) === 0 ? copy.subarray(0, dice(copy.length + 1)) : copy
}

function corpus(): Buffer[] {
  if (!existsSync(STREAMS)) return []
  return readdirSync(STREAMS, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)))
}

/** What one side says, in pieces. */
function script(dice: Dice, fromCaller: boolean, streams: readonly Buffer[]): Buffer[] {
  const base = fromCaller ? oneOf(dice, [requestFields, grpcFields]) : ([[':status', oneOf(dice, ['200', '100', '304', '101'])]] as const)
  let bytes: Buffer
  if (fromCaller && streams.length > 0 && dice(8) === 0) bytes = mutate(dice, oneOf(dice, streams))
  else {
    const frames = Array.from({ length: dice(25) }, () => nextFrame(dice, base))
    bytes = Buffer.concat([...(fromCaller ? [PREFACE] : []), settings(), settingsAck(), ...frames])
    if (dice(2) === 0) bytes = mutate(dice, bytes)
  }
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const size = 1 + (dice(2) === 0 ? dice(20) : dice(4000))
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

function converse(dice: Dice, streams: readonly Buffer[]): void {
  const pending: TestExchange[] = []
  const memory = relayInMemory({
    begun: false,
    handler: {
      onRequest(exchange) {
        assert.ok(exchange.request !== undefined && exchange.request.path.startsWith('/'))
        exchange.requestId = 'id'
        const verdict = dice(4)
        if (verdict === 0) exchange.refuse({ status: 403 }, 'ERR_POLICY_NO_ALLOW', '')
        else if (verdict === 1) pending.push(exchange)
        else exchange.forward(asCame(exchange.request))
      },
      onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail),
    },
  })
  const callers = script(dice, true, streams)
  const apps = script(dice, false, streams)
  // Both throw if what was written is not whole frames with blocks that decode.
  const read = (): void => {
    for (const line of memory.toApp()) {
      assert.doesNotMatch(line, /HEADERS \d+ (?:end )?:(?!method)|connection|X-Upper|\r/, 'a malformed head reached the app')
      assert.doesNotMatch(line, /^HEADERS .*:path: (?![/*])/)
    }
    memory.toCaller()
  }
  while (callers.length + apps.length > 0) {
    const bytes = callers.length > 0 && (apps.length === 0 || dice(2) === 0) ? callers.shift() : undefined
    if (bytes === undefined) memory.relay.receiveUpstream(apps.shift() ?? Buffer.alloc(0), memory.now)
    else memory.relay.receiveDownstream(bytes, memory.now)
    memory.now += dice(50)
    const decided = dice(6) === 0 ? pending.pop() : undefined
    if (decided?.request !== undefined) decided.forward(asCame(decided.request))
    if (dice(40) === 0) oneOf(dice, memory.exchanges)?.cut('ERR_POLICY_NO_ALLOW', '', 7)
    if (dice(60) === 0) memory.relay.drain()
    if (dice(80) === 0) memory.relay.upstreamClosed('ERR_UPSTREAM_CLOSED', '')
    read()
  }
  memory.relay.downstreamClosed()
  read()
  assert.equal(memory.relay.exchanges.size, 0)
  assert.equal(new Set(memory.ended).size, memory.ended.length, 'an exchange ended twice')
  for (const { reason } of memory.ended) assert.ok(reason === undefined || reason in REASONS)
}

/** Tries conversations for so long; throws with the seed of the one that failed. */
export function fuzz(seconds: number, seed: number): number {
  const streams = corpus()
  const end = performance.now() + seconds * 1000
  let runs = 0
  while (performance.now() < end) {
    const own = (seed + runs * 7919) | 0
    try {
      converse(createDice(own), streams)
    } catch (error) {
      throw new Error(`the conversation of seed ${own} failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    runs++
  }
  return runs
}
