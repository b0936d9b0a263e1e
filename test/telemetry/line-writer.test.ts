import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, write } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDescriptorSink } from '#telemetry/byte-sink'
import type { ByteSink } from '#telemetry/byte-sink'
import { createLineWriter } from '#telemetry/line-writer'
import type { LineLoss, LineWriter } from '#telemetry/line-writer'
import { createFifo, readUntil } from '../support/fifo.ts'
import type { Fifo } from '../support/fifo.ts'

const PATIENCE = 10_000

interface Watched {
  readonly writer: LineWriter
  readonly failures: string[]
  readonly failed: Promise<void>
  readonly recovered: Promise<void>
}

function watched(sink: ByteSink, capacity = 1 << 20): Watched {
  const failures: string[] = []
  const failed = Promise.withResolvers<void>()
  const recovered = Promise.withResolvers<void>()
  const writer = createLineWriter({
    sink,
    capacity,
    delay: 1,
    random: () => 0.5,
    lossNotice: ({ ordinary, kept }: LineLoss) => `LOST ${ordinary} ${kept}\n`,
    onFailure(error) {
      failures.push(error.code ?? '')
      failed.resolve()
    },
    onRecovery: () => recovered.resolve(),
  })
  return { writer, failures, failed: failed.promise, recovered: recovered.promise }
}

/** A sink in memory whose answers are given one by one. */
function scripted(answers: (number | string)[]): ByteSink & { readonly text: () => string; readonly calls: () => number } {
  let text = ''
  let calls = 0
  return {
    text: () => text,
    calls: () => calls,
    write(chunk, offset, done) {
      calls++
      const answer = answers.shift() ?? Number.POSITIVE_INFINITY
      if (typeof answer === 'string') {
        setImmediate(done, Object.assign(new Error(answer), { code: answer }), 0)
        return
      }
      const bytes = Math.min(answer, chunk.length - offset)
      text += Buffer.from(chunk.subarray(offset, offset + bytes)).toString()
      setImmediate(done, null, bytes)
    },
    writeSync(chunk, offset) {
      text += Buffer.from(chunk.subarray(offset)).toString()
      return chunk.length - offset
    },
  }
}

function push(writer: LineWriter, count: number, line: (index: number) => string, keep = false): void {
  for (let index = 0; index < count; index++) writer.push(`${line(index)}\n`, keep)
}

/** Reads until `writer` has written all. */
async function drain(fifo: Fifo, writer: LineWriter, portion?: number): Promise<string> {
  const flushed = writer.flush(PATIENCE)
  const text = await readUntil(flushed, fifo, portion)
  assert.ok(await flushed)
  return text
}

test('lines of one turn are written together', async () => {
  const sink = scripted([])
  const { writer } = watched(sink)
  push(writer, 500, (index) => `line ${index}`)
  assert.equal(sink.calls(), 0)
  assert.ok(await writer.flush(PATIENCE))
  assert.equal(sink.calls(), 1)
  assert.equal(sink.text().split('\n').length, 501)
  assert.equal(writer.stats.written, 500)
})

test('64 KiB do not wait for the end of the delay', () => {
  const sink = scripted([])
  const { writer } = watched(sink)
  push(writer, 64, () => 'x'.repeat(1024))
  assert.equal(sink.calls(), 1)
})

test('a sink that takes a few bytes at a time, or says "not now", gets every byte once', async () => {
  const sink = scripted([1, 'EAGAIN', 3, 0, 'EINTR', 2, 'EAGAIN'])
  const { writer, failures } = watched(sink)
  push(writer, 20, (index) => `line ${index}`)
  assert.ok(await writer.flush(PATIENCE))
  assert.equal(sink.text(), Array.from({ length: 20 }, (_, index) => `line ${index}\n`).join(''))
  assert.deepEqual(failures, [])
})

test('a broken sink is reported once, tried again, and reported well once', async () => {
  const sink = scripted(['ENOSPC', 'ENOSPC', 'EIO'])
  const { writer, failures, recovered } = watched(sink)
  push(writer, 3, (index) => `line ${index}`)
  assert.ok(await writer.flush(PATIENCE))
  await recovered
  assert.deepEqual(failures, ['ENOSPC'])
  assert.equal(sink.text(), 'line 0\nline 1\nline 2\n')
})

test('after a broken pipe the line that was cut is written again from its start', async () => {
  const sink = scripted([10, 'EPIPE'])
  const { writer, recovered } = watched(sink)
  push(writer, 3, (index) => `line ${index}`)
  assert.ok(await writer.flush(PATIENCE))
  await recovered
  assert.equal(sink.text(), 'line 0\nlinline 1\nline 2\n')
})

test('a notice stands where lines were lost, and its count is exact', async () => {
  const sink = scripted(['EAGAIN'])
  const { writer } = watched(sink, 70)
  push(writer, 20, (index) => `line ${index}`)
  push(writer, 3, (index) => `KEEP ${index}`, true)
  assert.ok(await writer.flush(PATIENCE))
  const lines = sink.text().trimEnd().split('\n')
  assert.equal(lines[0], 'LOST 13 0')
  assert.deepEqual(lines.slice(-3), ['KEEP 0', 'KEEP 1', 'KEEP 2'])
  assert.equal(lines.length - 1, writer.stats.written)
  assert.deepEqual(writer.stats.lost, { ordinary: 13, kept: 0 })
})

test('losses are told even if nothing is pushed after them', async () => {
  const sink = scripted(['EAGAIN'])
  const { writer } = watched(sink, 10)
  writer.push('line 0\n', false)
  const first = writer.flush(PATIENCE)
  push(writer, 2, () => 'longer than the queue')
  assert.ok(await first)
  assert.equal(sink.text(), 'line 0\nLOST 2 0\n')
})

test('what cannot be written by the time of closing is given up and counted', async () => {
  const { writer } = watched(scripted(Array.from({ length: 100 }, (_, index) => (index === 0 ? 9 : 'EAGAIN'))))
  push(writer, 5, (index) => `line ${index}`)
  await writer.close(20)
  assert.equal(writer.stats.written, 1)
  assert.equal(writer.stats.abandoned, 4)
  writer.push('late\n', true)
  assert.equal(writer.stats.abandoned, 5)
})

test('last words are written at once', () => {
  const sink = scripted([])
  const { writer } = watched(sink)
  push(writer, 3, (index) => `line ${index}`)
  writer.flushSync()
  assert.equal(sink.text(), 'line 0\nline 1\nline 2\n')
  assert.equal(writer.stats.written, 3)
})

test('a pipe that nobody reads holds up nothing, and when it is read again the gap is as large as was said', async () => {
  using fifo = createFifo()
  const { writer } = watched(createDescriptorSink(fifo.writer), 100_000)
  const total = 20_000
  push(writer, total, (index) => `ordinary ${index} ${'x'.repeat(40)}`)
  push(writer, 500, (index) => `KEEP ${index}`, true)
  assert.equal(await writer.flush(30), false)
  push(writer, 500, (index) => `KEEP ${index + 500}`, true)
  const lines = (await drain(fifo, writer)).trimEnd().split('\n')
  const lost = lines.filter((line) => line.startsWith('LOST')).map((line) => line.split(' ').slice(1).map(Number))
  const ordinary = lines.filter((line) => line.startsWith('ordinary'))
  assert.equal(ordinary.length + lost.reduce((sum, [count = 0]) => sum + count, 0), total)
  assert.equal(
    lost.reduce((sum, [, count = 0]) => sum + count, 0),
    0,
  )
  assert.deepEqual(
    lines.filter((line) => line.startsWith('KEEP')),
    Array.from({ length: 1000 }, (_, index) => `KEEP ${index}`),
  )
  assert.equal(lines.length - lost.length, writer.stats.written)
})

test('a slow reader gets everything, in order', async () => {
  using fifo = createFifo()
  const { writer } = watched(createDescriptorSink(fifo.writer))
  push(writer, 4000, (index) => `line ${index} ${'x'.repeat(100)}`)
  const lines = (await drain(fifo, writer, 1000)).trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => Number(line.split(' ')[1])),
    Array.from({ length: 4000 }, (_, index) => index),
  )
})

test('a pipe whose reader went away is taken up again by the next one, at the start of a line', async () => {
  using fifo = createFifo()
  const { writer, failed, recovered, failures } = watched(createDescriptorSink(fifo.writer))
  fifo.closeReader()
  push(writer, 2000, (index) => `line ${index} ${'x'.repeat(100)}`)
  await failed
  assert.deepEqual(failures, ['EPIPE'])
  fifo.openReader()
  const lines = (await drain(fifo, writer)).trimEnd().split('\n')
  await recovered
  assert.deepEqual(
    lines.map((line) => Number(line.split(' ')[1])),
    Array.from({ length: 2000 }, (_, index) => index),
  )
})

test('a full disk is waited out', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-writer-'))
  const full = openSync('/dev/full', 'w')
  const file = openSync(join(folder, 'log'), 'w')
  let target = full
  const { writer, failed, recovered, failures } = watched({
    write: (chunk, offset, done) => write(target, chunk, offset, chunk.length - offset, null, done),
    writeSync: () => 0,
  })
  push(writer, 10, (index) => `line ${index}`)
  await failed
  assert.deepEqual(failures, ['ENOSPC'])
  target = file
  assert.ok(await writer.flush(PATIENCE))
  await recovered
  assert.equal(readFileSync(join(folder, 'log'), 'utf8'), Array.from({ length: 10 }, (_, index) => `line ${index}\n`).join(''))
  closeSync(full)
  closeSync(file)
  rmSync(folder, { recursive: true })
})
