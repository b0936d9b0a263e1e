/** However the bytes of a conversation are cut into pieces, and however the frames of its streams are mixed, the app hears the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  data,
  type Fields,
  frame,
  headers,
  literals,
  paddedData,
  ping,
  PREFACE,
  settings,
  settingsAck,
  uint32,
  windowUpdate,
  END_HEADERS,
  PADDED,
  PRIORITY,
} from '../support/http2-frames.ts'
import { relayInMemory, requestFields } from '../support/relay-in-memory.ts'

type Valued<A> = A extends fc.Arbitrary<infer V> ? V : never

interface Message {
  /** Frames that must stay together: a header block with its continuations. */
  readonly frames: readonly Buffer[]
  readonly body: number
  readonly trailers: boolean
  readonly path: string
}

const block = fc.record({
  huffman: fc.boolean(),
  split: fc.array(fc.nat(200), { maxLength: 3 }),
  padding: fc.option(fc.nat(50), { nil: undefined }),
  priority: fc.boolean(),
})

function blockFrames(stream: number, fields: Fields, { huffman, split, padding, priority }: Valued<typeof block>, end: boolean): Buffer {
  const bytes = literals(fields, { huffman })
  const cuts = [...split.map((at) => Math.min(at, bytes.length)).toSorted((a, b) => a - b), bytes.length]
  let from = 0
  const parts = cuts.map((to) => bytes.subarray(from, (from = to)))
  const [first, ...rest] = parts
  let flags = end ? 1 : 0
  let payload = first!
  if (priority) payload = Buffer.concat([uint32(0), Buffer.from([5]), payload])
  if (padding !== undefined) payload = Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)])
  if (priority) flags |= PRIORITY
  if (padding !== undefined) flags |= PADDED
  if (rest.length === 0) flags |= END_HEADERS
  return Buffer.concat([
    frame('HEADERS', flags, stream, payload),
    ...rest.map((part, index) => frame('CONTINUATION', index === rest.length - 1 ? END_HEADERS : 0, stream, part)),
  ])
}

const body = fc.array(fc.tuple(fc.nat(300), fc.option(fc.nat(20), { nil: undefined })), { maxLength: 4 })
const message = fc.record({ head: block, body, trailers: fc.option(block, { nil: undefined }), name: fc.stringMatching(/^[a-z]{1,8}$/) })

function toMessage({ head, body, trailers, name }: Valued<typeof message>, index: number): Message {
  const stream = 1 + 2 * index
  const fields = requestFields.map(([field, value]) => [field, field === ':path' ? `/${index}/${name}` : value] as const)
  const ended = trailers === undefined
  const frames = [blockFrames(stream, fields, head, ended && body.length === 0)]
  body.forEach(([size, padding], at) => {
    const end = ended && at === body.length - 1
    frames.push(padding === undefined ? data(stream, size, end) : paddedData(stream, size, padding, end))
  })
  if (trailers !== undefined) frames.push(blockFrames(stream, [['x-sum', name]], trailers, true))
  return { frames, body: body.reduce((sum, [size]) => sum + size, 0), trailers: !ended, path: `/${index}/${name}` }
}

/** What the app was told of each stream, body bytes summed up. */
function heard(lines: readonly string[]): Map<string, string> {
  const streams = new Map<string, { path: string; bytes: number; end: boolean; trailers: string }>()
  for (const line of lines) {
    const [type = '', stream = '', ...rest] = line.split(' ')
    if (type === 'HEADERS' && !streams.has(stream)) {
      streams.set(stream, { path: /:path: (\S+)/.exec(line)![1]!, bytes: 0, end: rest[0] === 'end', trailers: '' })
      continue
    }
    const entry = streams.get(stream)
    if (entry === undefined) continue
    if (type === 'DATA') entry.bytes += Number(rest.at(-1))
    if (type === 'HEADERS') entry.trailers = rest.slice(1).join(' ')
    entry.end ||= rest[0] === 'end'
  }
  return new Map([...streams.values()].map(({ path, bytes, end, trailers }) => [path, `${bytes} ${end} ${trailers}`]))
}

test('any cutting and mixing of valid frames gives the same requests', () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 6, size: 'max' }),
      fc.infiniteStream(fc.nat(1000)),
      fc.infiniteStream(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5000 }))),
      fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      (drafts, choices, sizes, headsPerCall) => {
        const messages = drafts.map(toMessage)
        // Heads in order, for streams open in order; all else mixed.
        const frames: Buffer[] = []
        const queues = messages.map(({ frames }) => [...frames])
        let opened = 0
        while (queues.some((queue) => queue.length > 0)) {
          const choice = choices.next().value!
          const ready = queues.filter((queue, index) => queue.length > 0 && index <= opened)
          const queue = ready[choice % ready.length]!
          if (queue === queues[opened]) opened++
          frames.push(queue.shift()!)
          if (choice % 7 === 0) frames.push(ping(), windowUpdate(0, 1 + choice), frame(0xaa, choice & 0xff, choice))
        }
        const bytes = Buffer.concat([PREFACE, settings(), settingsAck(), ...frames])
        const memory = relayInMemory({ begun: false, relay: headsPerCall === undefined ? {} : { headsPerCall } })
        memory.app(settings(), settingsAck())
        memory.toApp()
        const lines: string[] = []
        for (let at = 0; at < bytes.length;) {
          const size = sizes.next().value!
          memory.caller(bytes.subarray(at, at + size))
          lines.push(...memory.toApp())
          at += size
          // What was left is read before more comes, or with it.
          if (choices.next().value! % 2 === 0) memory.caller()
        }
        while (memory.relay.behind) memory.caller()
        lines.push(...memory.toApp())
        assert.deepEqual(memory.events, [])
        const expected = messages.map(
          ({ path, body, trailers }) => [path, `${body} true ${trailers ? `x-sum: ${path.split('/')[2]}` : ''}`] as const,
        )
        assert.deepEqual(heard(lines), new Map(expected))
        assert.equal(memory.relay.midway, false)
      },
    ),
    { numRuns: 300 },
  )
})

test('any bytes behind the preface are read without harm: every exchange ends once, and what goes out is whole frames', () => {
  const pieces = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(fc.nat(12), fc.nat(255), fc.nat(9), fc.uint8Array({ maxLength: 30 }))
      .map(([type, flags, stream, payload]) => frame(type, flags, stream, payload)),
    fc.nat(4).map((index) => headers(1 + 2 * index, literals(requestFields), index % 2 === 0)),
    fc.tuple(fc.nat(4), fc.nat(100), fc.boolean()).map(([index, size, end]) => data(1 + 2 * index, size, end)),
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30, size: 'max' }), fc.array(pieces, { maxLength: 30, size: 'max' }), (callers, apps) => {
      const memory = relayInMemory({
        handler: { onFailure: (exchange, reason, detail) => exchange.refuse({ status: 502 }, reason, detail) },
      })
      for (let index = 0; index < Math.max(callers.length, apps.length); index++) {
        if (callers[index] !== undefined) memory.caller(callers[index]!)
        if (apps[index] !== undefined) memory.app(apps[index]!)
        // Whatever came, what goes out is whole frames whose blocks decode: these throw otherwise.
        memory.toApp()
        memory.toCaller()
      }
      memory.relay.downstreamClosed()
      assert.equal(memory.relay.exchanges.size, 0)
      assert.equal(new Set(memory.ended).size, memory.ended.length)
    }),
    { numRuns: 2000 },
  )
})
