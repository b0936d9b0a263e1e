/** HTTP/2 under gRPC, frame by frame, on the socket: what clients of others do that ours would not. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { createTestMesh } from '../support/authority.ts'
import {
  data,
  decodeBlock,
  createTestDecoder,
  type Frame,
  framesOf,
  headers,
  literals,
  ping,
  PREFACE,
  reset,
  settings,
  settingsAck,
  windowUpdate,
} from '../support/http2-frames.ts'
import { startWorkloadApi } from '../support/workload-api-server.ts'
import { createWorkloadSource, stateOf } from '../support/workload-source.ts'

const mesh = await createTestMesh()
const cart = await mesh.issue('/ns/shop/sa/cart')
const INITIAL_WINDOW_SIZE = 4

const head = (stream: number, path: string, end = false, more: readonly (readonly [string, string])[] = []): Buffer =>
  headers(
    stream,
    literals([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', path],
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
      ['workload.spiffe.io', 'true'],
      ...more,
    ]),
    end,
  )
/** An empty message in its envelope. */
const EMPTY = Buffer.alloc(5)

interface Wire extends Disposable {
  readonly socket: Socket
  send(...frames: readonly Buffer[]): void
  /** Resolves with the first frame, past or coming, that `match` takes. */
  frame(match: (frame: Frame) => boolean): Promise<Frame>
  frames(): readonly Frame[]
  readonly closed: Promise<unknown>
}

async function open(path: string): Promise<Wire> {
  const socket = connect(path)
  await once(socket, 'connect')
  let bytes = Buffer.alloc(0)
  let wake: () => void = () => undefined
  socket.on('data', (more) => {
    bytes = Buffer.concat([bytes, more as Buffer])
    wake()
  })
  socket.on('error', () => undefined)
  const closed = once(socket, 'close').then(() => wake())
  const frames = (): readonly Frame[] => framesOf(bytes.subarray(0, wholeFrames(bytes)))
  return {
    socket,
    frames,
    closed,
    send: (...frames) => void socket.write(Buffer.concat(frames)),
    async frame(match) {
      for (;;) {
        const found = frames().find(match)
        if (found !== undefined) return found
        assert.ok(!socket.destroyed, 'the connection was closed')
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
    },
    [Symbol.dispose]: () => void socket.destroy(),
  }
}

function wholeFrames(bytes: Buffer): number {
  let at = 0
  while (at + 9 <= bytes.length && at + 9 + bytes.readUIntBE(at, 3) <= bytes.length) at += 9 + bytes.readUIntBE(at, 3)
  return at
}

const fieldsOf = ({ payload }: Frame): Record<string, string> => Object.fromEntries(decodeBlock(createTestDecoder(), payload))
const isTrailers = (stream: number) => (frame: Frame) => frame.type === 'HEADERS' && frame.stream === stream && (frame.flags & 1) !== 0

test('a request whose head does not end it, with a message in single bytes, is answered; pings at once too', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  // 0xfe03 is grpcio's own setting.
  wire.send(PREFACE, settings([0xfe03, 1]), head(1, '/SpiffeWorkloadAPI/FetchX509SVID'))
  for (const byte of EMPTY) wire.send(data(1, Buffer.of(byte)))
  wire.send(data(1, Buffer.alloc(0), true), ping())
  await wire.frame(({ type, flags }) => type === 'PING' && flags === 1)
  const answer = await wire.frame(({ type, stream }) => type === 'HEADERS' && stream === 1)
  assert.deepEqual(fieldsOf(answer), { ':status': '200', 'content-type': 'application/grpc+proto' })
  await wire.frame(({ type, stream }) => type === 'DATA' && stream === 1)
})

test('an answer waits for the windows of its client, and its trailers overtake none of it', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  wire.send(PREFACE, settings([INITIAL_WINDOW_SIZE, 100]), settingsAck())
  wire.send(head(1, '/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets'), data(1, EMPTY, true))
  const first = await wire.frame(({ type }) => type === 'DATA')
  assert.equal(first.payload.length, 100)
  wire.send(ping())
  await wire.frame(({ type, flags }) => type === 'PING' && flags === 1)
  assert.equal(wire.frames().some(isTrailers(1)), false)
  wire.send(windowUpdate(1, 60_000))
  assert.equal(fieldsOf(await wire.frame(isTrailers(1)))['grpc-status'], '0')
  const body = Buffer.concat(
    wire
      .frames()
      .filter(({ type }) => type === 'DATA')
      .map(({ payload }) => payload),
  )
  assert.equal(body.length, 5 + body.readUInt32BE(1))
})

test('a client that resets while its answer waits leaves nothing behind', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using wire = await open(served.socket)
  wire.send(PREFACE, settings([INITIAL_WINDOW_SIZE, 10]), head(1, '/SpiffeWorkloadAPI/FetchX509SVID'), data(1, EMPTY, true))
  await wire.frame(({ type }) => type === 'DATA')
  assert.equal(source.listeners, 1)
  wire.send(reset(1), ping())
  await wire.frame(({ type, flags }) => type === 'PING' && flags === 1)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(source.listeners, 0)
})

test('a call with a deadline ends with it', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  wire.send(PREFACE, settings(), head(1, '/SpiffeWorkloadAPI/FetchX509SVID', false, [['grpc-timeout', '50m']]), data(1, EMPTY, true))
  assert.equal(fieldsOf(await wire.frame(isTrailers(1)))['grpc-status'], '4')
})

test('a message in a compression that is not offered is Unimplemented', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  wire.send(PREFACE, settings(), head(1, '/SpiffeWorkloadAPI/FetchX509SVID', false, [['grpc-encoding', 'gzip']]), data(1, EMPTY, true))
  assert.equal(fieldsOf(await wire.frame(isTrailers(1)))['grpc-status'], '12')
})

test('a call without a message, and one with half of one, are refused', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  wire.send(PREFACE, settings(), head(1, '/SpiffeWorkloadAPI/FetchX509SVID', true))
  wire.send(head(3, '/SpiffeWorkloadAPI/FetchX509SVID'), data(3, EMPTY.subarray(0, 3), true))
  assert.notEqual(fieldsOf(await wire.frame(isTrailers(1)))['grpc-status'], '0')
  assert.notEqual(fieldsOf(await wire.frame(isTrailers(3)))['grpc-status'], '0')
})

test('what is not gRPC is told so', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  const plain = (stream: number, path: string, method = 'GET'): Buffer =>
    headers(
      stream,
      literals([
        [':method', method],
        [':scheme', 'http'],
        [':path', path],
      ]),
    )
  wire.send(PREFACE, settings(), plain(1, '/'), plain(3, '/SpiffeWorkloadAPI/FetchX509SVID'))
  assert.equal(fieldsOf(await wire.frame(isTrailers(1)))[':status'], '415')
  assert.equal(fieldsOf(await wire.frame(isTrailers(3)))[':status'], '405')
})

test('a client that floods is told to calm down and cut; others are served on', async () => {
  const source = createWorkloadSource(stateOf([cart], [mesh]))
  await using served = await startWorkloadApi(source)
  using flooder = await open(served.socket)
  flooder.send(PREFACE, settings(), head(1, '/SpiffeWorkloadAPI/FetchX509SVID'), data(1, EMPTY, true))
  flooder.send(...Array.from({ length: 2_000 }, () => ping()))
  const { payload } = await flooder.frame(({ type }) => type === 'GOAWAY')
  assert.equal(payload.readUInt32BE(4), 11)
  await flooder.closed
  using wire = await open(served.socket)
  wire.send(PREFACE, settings(), head(1, '/SpiffeWorkloadAPI/FetchX509SVID'), data(1, EMPTY, true))
  await wire.frame(({ type }) => type === 'DATA')
  assert.equal(source.listeners, 1)
})

test('101 calls at once on one connection are one too many', async () => {
  await using served = await startWorkloadApi(createWorkloadSource(stateOf([cart], [mesh])))
  using wire = await open(served.socket)
  wire.send(PREFACE, settings())
  for (let stream = 1; stream <= 201; stream += 2) wire.send(head(stream, '/SpiffeWorkloadAPI/FetchX509Bundles'), data(stream, EMPTY, true))
  const { stream } = await wire.frame(({ type }) => type === 'RST_STREAM')
  assert.equal(stream, 201)
})
