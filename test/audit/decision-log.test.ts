import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDecisionLog } from '#audit/decision-log'
import type { DecisionLog, DecisionLogOptions } from '#audit/decision-log'
import { systemClock } from '#base/clock'
import type { ByteSink } from '#telemetry/byte-sink'
import { silentLog } from '#telemetry/log'
import { allowed, exchange, handshake, refusal } from '../support/events.ts'
import { createFifo, readUntil } from '../support/fifo.ts'

type Parsed = Readonly<Record<string, unknown>>

function recording(): ByteSink & { readonly records: () => Parsed[] } {
  let text = ''
  return {
    records: () => parseLines(text),
    write(chunk, offset, done) {
      text += Buffer.from(chunk.subarray(offset)).toString()
      setImmediate(done, null, chunk.length - offset)
    },
    writeSync(chunk, offset) {
      text += Buffer.from(chunk.subarray(offset)).toString()
      return chunk.length - offset
    },
  }
}

/** Takes nothing until it is opened. */
function gated(): ReturnType<typeof recording> & { readonly open: () => void } {
  const inner = recording()
  let isOpen = false
  return {
    ...inner,
    open: () => void (isOpen = true),
    write(chunk, offset, done) {
      if (isOpen) inner.write(chunk, offset, done)
      else setImmediate(done, Object.assign(new Error('busy'), { code: 'EAGAIN' }), 0)
    },
  }
}

function parseLines(text: string): Parsed[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Parsed)
}

function logTo(target: DecisionLogOptions['target'], options: Partial<DecisionLogOptions> = {}): DecisionLog {
  return createDecisionLog({ target, clock: systemClock, random: () => 0.5, log: silentLog, ...options })
}

const shadowDenied = exchange({
  requestId: 'shadow',
  decision: { ...allowed, shadow: { allow: false, reason: 'ERR_POLICY_NO_ALLOW', policy: '', rule: '' } },
})

test('every decision and every refused handshake is one line', async () => {
  const sink = recording()
  const log = logTo(sink)
  log.exchange(exchange())
  log.exchange(refusal())
  log.handshake(handshake())
  await log.flush()
  assert.deepEqual(
    sink.records().map(({ msg, decision }) => [msg, decision]),
    [
      ['decision', 'allow'],
      ['decision', 'deny'],
      ['handshake', 'deny'],
    ],
  )
  assert.equal(log.stats.written, 3)
  assert.equal(log.overloaded, false)
})

test('`decisions: refused` leaves out requests that were allowed and answered, and no others', async () => {
  const sink = recording()
  const log = logTo(sink, { decisions: 'refused' })
  log.exchange(exchange({ requestId: 'answered' }))
  log.exchange(exchange({ requestId: 'failed', reason: 'ERR_UPSTREAM_CLOSED', status: 502 }))
  log.exchange(refusal({ requestId: 'refused' }))
  log.exchange(exchange({ requestId: 'undecided', decision: undefined, reason: 'ERR_HTTP_REQUEST_LINE' }))
  log.exchange(shadowDenied)
  await log.flush()
  assert.deepEqual(
    sink.records().map((record) => record['request_id']),
    ['failed', 'refused', 'undecided', 'shadow'],
  )
  assert.equal(log.stats.leftOut, 1)
})

test('sampling leaves out a share of requests that were allowed and answered, and no others', async () => {
  const sink = recording()
  let draw = 0
  const log = logTo(sink, { allowedSample: 0.25, random: () => (draw++ % 100) / 100 })
  for (let index = 0; index < 400; index++) log.exchange(exchange())
  for (let index = 0; index < 10; index++) log.exchange(refusal())
  log.exchange(shadowDenied)
  await log.flush()
  assert.equal(sink.records().length, 100 + 10 + 1)
  assert.equal(log.stats.leftOut, 300)
})

test('when stdout is stuck, records of allowed requests go first and the count of what is missing is exact', async () => {
  using fifo = createFifo()
  const log = logTo(fifo.writer, { capacityBytes: 300_000 })
  const sent = { allow: 0, deny: 0, handshake: 0 }
  for (let index = 0; index < 5000; index++) {
    log.exchange(exchange({ requestId: `a${index}` }))
    sent.allow++
    if (index % 20 === 0) {
      log.exchange(refusal({ requestId: `r${index}` }))
      log.handshake(handshake())
      sent.deny++
      sent.handshake++
    }
    if (index % 1000 === 0) await new Promise(setImmediate)
  }
  const records = parseLines(await readUntil(log.flush(), fifo))
  const count = (field: string, value: string): number => records.filter((record) => record[field] === value).length
  const notices = records.filter(({ msg }) => msg === 'records dropped')
  const dropped = notices.reduce((sum, notice) => sum + Number(notice['count']), 0)
  assert.ok(dropped > 0)
  assert.equal(count('decision', 'allow') + dropped, sent.allow)
  assert.equal(records.filter(({ msg, decision }) => msg === 'decision' && decision === 'deny').length, sent.deny)
  assert.equal(count('msg', 'handshake'), sent.handshake)
  assert.deepEqual(
    notices.map(({ level, refused }) => [level, refused]),
    notices.map(() => ['warn', 0]),
  )
  const { droppedAllowed, droppedRefused, written } = log.stats
  assert.deepEqual([droppedAllowed, droppedRefused, written], [dropped, 0, records.length - notices.length])
})

test('refusals are lost only when there is nothing else to lose', async () => {
  const sink = gated()
  const log = logTo(sink, { capacityBytes: 20_000 })
  for (let index = 0; index < 100; index++) log.exchange(exchange())
  for (let index = 0; index < 100; index++) log.exchange(refusal({ requestId: `r${index}` }))
  sink.open()
  await log.flush()
  const refused = sink.records().filter(({ decision }) => decision === 'deny')
  assert.equal(
    sink.records().some(({ decision }) => decision === 'allow'),
    false,
  )
  assert.deepEqual(
    refused.map((record) => record['request_id']),
    refused.map((_, index) => `r${index}`),
  )
  assert.deepEqual([log.stats.droppedAllowed, log.stats.droppedRefused], [100, 100 - refused.length])
})

test('with `onOverload: refuse` no record of an allowed request is lost: the log is overloaded first, until half of that is written', async () => {
  const sink = gated()
  const log = logTo(sink, { onOverload: 'refuse', capacityBytes: 100_000 })
  let admitted = 0
  while (!log.overloaded) {
    log.exchange(exchange({ requestId: `a${admitted}` }))
    admitted++
  }
  // What was admitted before still ends, and callers that are refused leave records as well.
  for (let index = 0; index < 20; index++) log.exchange(exchange({ requestId: `late${index}` }))
  for (let index = 0; index < 500; index++) log.exchange(refusal({ decision: undefined, reason: 'ERR_RECORDS_OVERLOADED', status: 503 }))
  assert.equal(log.overloaded, true)
  sink.open()
  await log.flush()
  assert.equal(log.overloaded, false)
  assert.equal(sink.records().filter(({ decision }) => decision === 'allow').length, admitted + 20)
  assert.ok(log.stats.droppedRefused > 0, 'refusals for want of records are what was lost')
  assert.equal(log.stats.droppedAllowed, 0)
})

test('a stuck log says so once in the operational log, and once that it is well again', async () => {
  const said: string[] = []
  const log = {
    ...silentLog,
    error: (_: unknown, message: string) => void said.push(message),
    info: (_: unknown, message: string) => void said.push(message),
  }
  const inner = recording()
  let broken = 3
  const decisions = logTo(
    {
      ...inner,
      write(chunk, offset, done) {
        if (broken-- > 0) setImmediate(done, Object.assign(new Error('gone'), { code: 'EPIPE' }), 0)
        else inner.write(chunk, offset, done)
      },
    },
    { log },
  )
  decisions.exchange(exchange())
  await decisions.flush()
  assert.deepEqual(said, ['decision records cannot be written; trying again until they can', 'decision records can be written again'])
  assert.equal(inner.records().length, 1)
})

test('closing writes what waits, and what comes afterwards is counted', async () => {
  const sink = recording()
  const log = logTo(sink)
  log.exchange(exchange())
  await log.close()
  log.exchange(exchange())
  assert.equal(sink.records().length, 1)
  assert.deepEqual([log.stats.written, log.stats.abandoned], [1, 1])
})
