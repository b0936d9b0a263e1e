/** http2jp/http2-frame-test-case: one frame a file, with what it says or the error it is. nghttp2's corpus: streams of bytes from clients. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type FrameHandler, FrameReader } from '#wire/http2/frame-reader'
import { createHttp2Relay } from '#wire/http2/relay'
import { settings, takeAll } from '../support/http2-frames.ts'
import { forwardAll, type TestExchange, testRelayOptions } from '../support/http2-relay.ts'
import { relayInMemory, request } from '../support/relay-in-memory.ts'

const FOLDER = join(import.meta.dirname, '..', '..', '..', 'shared', 'conformance', 'http2-frames')
const STREAMS = join(FOLDER, '..', 'http2-streams')
const skip = existsSync(FOLDER) ? false : `${FOLDER} is absent`

interface Case {
  readonly name: string
  readonly wire: Buffer
  readonly error: readonly number[] | null
}

function cases(): Case[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith('.json'))
    .map((name) => {
      const { wire, error } = JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as { wire: string; error: number[] | null }
      return { name, wire: Buffer.from(wire, 'hex'), error }
    })
}

/** What we make of the well-formed frames, after what has to stand before them. */
const EXPECTED: Readonly<Record<string, { readonly before: Buffer; readonly lines: readonly string[]; readonly midway: boolean }>> = {
  // CONTINUATION without END_HEADERS: nothing to report yet.
  'header.json': { before: Buffer.from('000000010000000032', 'hex'), lines: [], midway: true },
  'normal.json': { before: Buffer.alloc(0), lines: ['window update 50 1000'], midway: false },
  'priority.json': { before: Buffer.alloc(0), lines: ['block 3 this is dummy'], midway: false },
}

test('frames are read, or refused with the code that the set names', { skip }, (t) => {
  let total = 0
  for (const { name, wire, error } of cases()) {
    total++
    if (error === null) {
      const lines: string[] = []
      const reader = new FrameReader(recorder(lines), 65_536)
      assert.equal(reader.read(Buffer.concat([settings(), EXPECTED[name]?.before ?? Buffer.alloc(0), wire])), undefined, name)
      assert.deepEqual({ lines, midway: reader.midway }, { lines: EXPECTED[name]?.lines, midway: EXPECTED[name]?.midway }, name)
      continue
    }
    const memory = relayInMemory()
    memory.caller(request(1, false))
    const last = memory.caller(wire).at(-1) ?? ''
    const code = Number(/^(?:GOAWAY|RST_STREAM) \d+ (\d+)$/.exec(last)?.[1])
    assert.ok(error.includes(code), `${name}: ${last}`)
  }
  assert.ok(total > 0)
  t.diagnostic(`http2-frames: ${total} / ${total}`)
})

test(
  'no stream of bytes from a client throws, or leaves anything behind',
  { skip: existsSync(STREAMS) ? false : `${STREAMS} is absent` },
  (t) => {
    let total = 0
    let faults = 0
    for (const file of readdirSync(STREAMS, { recursive: true, withFileTypes: true })) {
      if (!file.isFile()) continue
      const bytes = readFileSync(join(file.parentPath, file.name))
      for (const size of [bytes.length, 1, 7]) {
        const ended: TestExchange[] = []
        let begun = 0
        let fault = false
        const handler = forwardAll(ended)
        const relay = createHttp2Relay<unknown>(testRelayOptions, {
          ...handler,
          onRequest(exchange) {
            begun++
            handler.onRequest(exchange)
          },
          onBadRequest: () => void begun++,
          onDownstreamFault: () => void (fault = true),
        })
        for (let at = 0; at < bytes.length; at += Math.max(1, size)) {
          relay.receiveDownstream(bytes.subarray(at, at + size), 0)
          takeAll(() => relay.takeDownstream())
          takeAll(() => relay.takeUpstream())
        }
        relay.downstreamClosed()
        assert.equal(relay.exchanges.size, 0, file.name)
        assert.equal(ended.length, begun, file.name)
        if (fault && size === 1) faults++
      }
      total++
    }
    assert.ok(total > 0)
    t.diagnostic(`http2-streams, by the codec alone: ${total} / ${total}, of which ${faults} end their connection`)
  },
)

function recorder(lines: string[]): FrameHandler {
  const note = (line: string): undefined => void lines.push(line)
  const nothing = (): undefined => undefined
  return {
    onData: (stream, _, start, end) => note(`data ${stream} ${end - start}`),
    onHeaderBlock: (stream, bytes, start, end) => note(`block ${stream} ${bytes.toString('latin1', start, end)}`),
    onReset: (stream, code) => note(`reset ${stream} ${code}`),
    onSettings: nothing,
    onSettingsAck: nothing,
    onPing: nothing,
    onGoaway: (last, code) => note(`goaway ${last} ${code}`),
    onWindowUpdate: (stream, increment) => note(`window update ${stream} ${increment}`),
    onIgnored: () => note('ignored'),
    satisfied: false,
  }
}
