/** `@grpc/grpc-js`, unmodified, as client and as server, through two sidecars. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { Metadata, status } from '@grpc/grpc-js'
import { createEchoClient, startEchoServer } from '../../fakes/grpc-echo.ts'
import { CALLER, runSidecarPair } from '../../support/sidecar-pair.ts'

const MIB = 1024 * 1024

function metadataOf(entries: Readonly<Record<string, string | Buffer>>): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value)
  return metadata
}

test('unary calls, with metadata and trailers both ways, and every error status', async () => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  using client = createEchoClient(pair.port)
  const binary = randomBytes(300)
  const answer = await client.unary(
    Buffer.from('hello'),
    metadataOf({ 'x-text': 'a value', 'x-data-bin': binary, 'x-postern-principal': 'forged' }),
  )
  assert.deepEqual([answer.code, answer.message?.toString()], [status.OK, 'hello'])
  for (const got of [answer.head, answer.trailers]) {
    assert.equal(got['x-text'], 'a value')
    assert.deepEqual(got['x-data-bin'], binary)
  }
  assert.equal(answer.head['x-postern-principal'], CALLER, 'what the app saw is who called')
  for (let code = 1; code <= 16; code++) {
    const failed = await client.unary(Buffer.from('x'), metadataOf({ 'x-fail': String(code) }))
    assert.deepEqual([failed.code, failed.details], [code, 'as asked: 100 % “schräg”'])
    assert.equal(failed.trailers['x-fail'], String(code))
  }
  const records = await pair.called.records()
  assert.deepEqual(
    records.map((record) => record['grpc_status']),
    Array.from({ length: 17 }, (_, index) => index),
  )
})

test('client streaming, server streaming and both at once', async () => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  using client = createEchoClient(pair.port)

  const collecting = client.collect()
  for (let index = 0; index < 500; index++) {
    if (!collecting.call.write(Buffer.alloc(1000))) await once(collecting.call, 'drain')
  }
  collecting.call.end()
  assert.equal((await collecting.answer).toString(), '500 500000')

  const numbers: string[] = []
  for await (const message of client.repeat(1000)) numbers.push(String(message))
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => String(index)),
  )
  assert.equal(numbers.length, 1000)

  // Each message is answered before the next is sent: nothing of it waits anywhere.
  const chat = client.chat()
  for (let index = 0; index < 50; index++) {
    chat.write(Buffer.from(`message ${index}`))
    assert.equal(String((await once(chat, 'data'))[0]), `message ${index}`)
  }
  const ended = once(chat, 'status')
  chat.resume().end()
  assert.equal(((await ended)[0] as { code: number }).code, status.OK)
})

test('messages of 10 MiB both ways, one after the other and two at once', async () => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  using client = createEchoClient(pair.port)
  const message = randomBytes(10 * MIB)
  const answers = [await client.unary(message), ...(await Promise.all([1, 2].map(() => client.unary(message))))]
  for (const answer of answers) {
    assert.equal(answer.code, status.OK)
    assert.ok(answer.message?.equals(message) === true)
  }
})

test('a deadline ends the call at both ends, and a cancellation reaches the server', async () => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  using client = createEchoClient(pair.port)
  const late = await client.wait({ deadline: Date.now() + 300 }).answer
  assert.equal(late.code, status.DEADLINE_EXCEEDED)
  await server.cancelled

  await using other = await startEchoServer()
  await using direct = await runSidecarPair(other.port, 'http2')
  using second = createEchoClient(direct.port)
  const { call, answer } = second.wait()
  await other.waiting
  call.cancel()
  assert.equal((await answer).code, status.CANCELLED)
  await other.cancelled
  const record = await direct.called.record((entry) => entry['path'] === '/test.Echo/Wait')
  assert.deepEqual([record['reason'], record['detail']], ['ERR_HTTP2_RESET', 'CANCEL'])
})

test('many calls at once, more than one connection allows', async (t) => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  using client = createEchoClient(pair.port)
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, index) => client.unary(Buffer.from(String(index)))))
  assert.deepEqual(
    answers.map(({ code, message }) => [code, message?.toString()]),
    answers.map((_, index) => [status.OK, String(index)]),
  )
  t.diagnostic(`${answers.length} calls at once`)
})

test('refused by policy is PERMISSION_DENIED, an absent server UNAVAILABLE', async () => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2', '- allow: { and: [grpc_method: Collect] }\n')
  using client = createEchoClient(pair.port)
  assert.equal((await client.unary(Buffer.from('x'))).code, status.PERMISSION_DENIED)
  const { call, answer } = client.collect()
  call.end()
  assert.equal((await answer).toString(), '0 0')
  await using absent = await runSidecarPair(1, 'http2')
  using second = createEchoClient(absent.port)
  assert.equal((await second.unary(Buffer.from('x'))).code, status.UNAVAILABLE)
})
