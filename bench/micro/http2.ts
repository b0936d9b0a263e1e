/** Time of HTTP/2 codecs and of the relay between two of them, per request. Run alone: `node bench/micro/http2.ts`. */
import { Buffer } from 'node:buffer'
import { HpackDecoder } from '#wire/http2/hpack/decoder'
import { HpackEncoder } from '#wire/http2/hpack/encoder'
import { Output } from '#wire/http2/output'
import { createHttp2Relay } from '#wire/http2/relay'
import { RequestFields } from '#wire/http2/request-fields'
import { createHttp2Resources } from '#wire/http2/resources'
import { ResponseBlock } from '#wire/http2/response-block'

const resources = createHttp2Resources()
const ROUNDS = 8000
const PASSES = 100

const head: readonly (readonly [string, string])[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'catalog.shop.svc.cluster.local:8080'],
  [':path', '/catalog/items/4711?fields=name,price'],
  ['user-agent', 'grpc-node-js/1.12.0'],
  ['accept', 'application/json'],
  ['x-tenant', 'shop-17'],
  ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
]

function encode(encoder: HpackEncoder, fields: readonly (readonly [string, string])[]): Buffer {
  const output = new Output(resources.slabs)
  output.reserve(4096)
  encoder.begin(output)
  for (const [name, value] of fields) encoder.write(output, name, value)
  return output.take() ?? Buffer.alloc(0)
}

function frame(type: number, flags: number, streamId: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(9 + payload.length)
  bytes.writeUIntBE(payload.length, 0, 3)
  bytes[3] = type
  bytes[4] = flags
  bytes.writeUInt32BE(streamId, 5)
  bytes.set(payload, 9)
  return bytes
}

/** The best of many short passes, since other work on the machine only ever adds time; a pass is long enough to hold its share of garbage collection. */
function measure(name: string, run: (rounds: number) => void): void {
  let best = Number.POSITIVE_INFINITY
  for (let pass = 0; pass < PASSES; pass++) {
    const before = performance.now()
    run(ROUNDS)
    best = Math.min(best, ((performance.now() - before) * 1e6) / ROUNDS)
  }
  console.log(`${name.padEnd(54)} ${best.toFixed(0).padStart(6)} ns`)
}

const writer = new HpackEncoder()
const first = encode(writer, head)
const again = encode(writer, head)
const decoder = new HpackDecoder(resources.scratch, 65_536)
const fields = new RequestFields(100)
fields.begin()
decoder.decode(first, 0, first.length, fields)
measure(`decode and check a request, ${again.length} bytes`, (rounds) => {
  for (let round = 0; round < rounds; round++) {
    fields.begin()
    decoder.decode(again, 0, again.length, fields)
    fields.finish(true)
  }
})

const output = new Output(resources.slabs)
measure('encode it', (rounds) => {
  for (let round = 0; round < rounds; round++) {
    output.reserve(1024)
    writer.begin(output)
    for (const [name, value] of head) writer.write(output, name, value)
    output.take()
  }
})

// What Node's own server sends, Huffman-coded, with the table turned off.
const response = Buffer.from('8861a6e45b5b085e7da1b13b4a0f88a57f0f0d8379c79f5f91497ca589d34d1f6a1271d882a60e1bf0acf7', 'hex').subarray(0, 1)
const responseHead = Buffer.concat([
  response,
  Buffer.from('0f100a746578742f706c61696e0f0d0431303234', 'hex'),
  Buffer.from(`000a${Buffer.from('x-app-name').toString('hex')}07${Buffer.from('catalog').toString('hex')}`, 'hex'),
])
const block = new ResponseBlock(resources.scratch, 65_536)
measure(`read a response head, ${responseHead.length} bytes`, (rounds) => {
  for (let round = 0; round < rounds; round++) block.read(responseHead, 0, responseHead.length, false)
})

const BATCH = 8
const relay = createHttp2Relay<undefined>(
  { resources, limits: { bytes: 65_536, headers: 100, streams: 128 }, keepTrailer: () => true, flood: { burst: Number.MAX_SAFE_INTEGER } },
  {
    onRequest(exchange) {
      const { request } = exchange
      if (request === undefined) return
      exchange.requestId = '01890a5d-ac96-774b-bcce-b302099a8057'
      exchange.forward({
        method: request.method,
        scheme: 'http',
        authority: request.authority,
        path: request.target,
        headers: request.headers,
        ours: { names: ['x-request-id'], values: [exchange.requestId] },
        teTrailers: request.teTrailers,
        sensitive: request.sensitive,
      })
    },
    onBadRequest: () => undefined,
    onStreamRefused: () => undefined,
    onFailure: () => undefined,
    onEnd: () => undefined,
    onDownstreamFault: (fault) => console.error(fault),
    onUpstreamFault: (fault) => console.error(fault),
    onIdle: () => undefined,
  },
)
const settings = frame(4, 0, 0, Buffer.alloc(0))
relay.receiveDownstream(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings, frame(4, 1, 0, Buffer.alloc(0))]), 0)
relay.receiveUpstream(Buffer.concat([settings, frame(4, 1, 0, Buffer.alloc(0))]), 0)
const body = Buffer.alloc(1024, 0x61)
let streamId = 1

/** Frames of a batch in one piece, with the places of their stream identifiers. */
function batch(frames: readonly Buffer[]): { readonly bytes: Buffer; readonly idsAt: readonly number[] } {
  const idsAt: number[] = []
  let at = 0
  for (const frame of frames) {
    idsAt.push(at + 5)
    at += frame.length
  }
  return { bytes: Buffer.concat(frames), idsAt }
}

function exchange(requests: ReturnType<typeof batch>, responses: ReturnType<typeof batch>, round: number): void {
  // The last frame of the requests is credit for the connection.
  for (let index = 0; index < BATCH; index++) requests.bytes.writeUInt32BE(streamId + 2 * index, requests.idsAt[index])
  for (let index = 0; index < 2 * BATCH; index++) responses.bytes.writeUInt32BE(streamId + 2 * (index >> 1), responses.idsAt[index])
  streamId += 2 * BATCH
  relay.receiveDownstream(requests.bytes, round)
  while (relay.takeUpstream() !== undefined);
  relay.receiveUpstream(responses.bytes, round)
  while (relay.takeDownstream() !== undefined);
}

const credit = frame(8, 0, 0, Buffer.from([0, 0, BATCH * 4, 0]))
const responses = batch(Array.from({ length: BATCH }, () => [frame(1, 4, 1, responseHead), frame(0, 1, 1, body)]).flat())
// The first request of a connection is written out, what follows refers to it.
const starter = new HpackEncoder()
exchange(batch([...Array.from({ length: BATCH }, () => frame(1, 5, 1, encode(starter, head))), credit]), responses, 0)
const requests = batch([...Array.from({ length: BATCH }, () => frame(1, 5, 1, encode(starter, head))), credit])
measure('relay a request and its response of 1 KB, in eights', (rounds) => {
  for (let round = 0; round < rounds / BATCH; round++) exchange(requests, responses, round)
})
if (relay.exchanges.size > 0) throw new Error(`${relay.exchanges.size} exchanges did not end`)
