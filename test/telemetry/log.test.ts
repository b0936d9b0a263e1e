import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PosternError } from '#base/errors'
import type { ByteSink } from '#telemetry/byte-sink'
import { createLog, silentLog } from '#telemetry/log'
import type { LogOptions, RootLog } from '#telemetry/log'

const clock = { now: () => Date.parse('2026-11-24T18:41:07.123Z'), monotonic: () => 0 }

function logging(options: Partial<LogOptions> = {}): {
  readonly log: RootLog
  readonly text: () => string
  readonly lines: () => Record<string, unknown>[]
} {
  let text = ''
  const target: ByteSink = {
    write(chunk, offset, done) {
      text += Buffer.from(chunk.subarray(offset)).toString()
      setImmediate(done, null, chunk.length - offset)
    },
    writeSync(chunk, offset) {
      text += Buffer.from(chunk.subarray(offset)).toString()
      return chunk.length - offset
    },
  }
  const log = createLog({ name: 'sidecar', clock, random: () => 0.5, target, ...options })
  return {
    log,
    text: () => text,
    lines: () =>
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

test('a line has level, time, name, fields and message, in that order', async () => {
  const { log, text } = logging()
  log.info({ generation: 7 }, 'a new snapshot is in force')
  await log.flush()
  assert.equal(
    text(),
    '{"level":"info","time":"2026-11-24T18:41:07.123Z","name":"sidecar","generation":7,"msg":"a new snapshot is in force"}\n',
  )
})

test('an error is shown with its code, its message, its cause and its stack', async () => {
  const { log, lines } = logging()
  const cause = new Error('ENOENT: no such file')
  log.error({ err: new PosternError('ERR_CONFIG_VALUE', 'The bundle cannot be read.', { cause }) }, 'reload failed')
  await log.flush()
  const err = lines()[0]?.['err'] as Record<string, unknown>
  assert.equal(err['code'], 'ERR_CONFIG_VALUE')
  assert.match(String(err['message']), /The bundle cannot be read.*ENOENT/)
  assert.match(String(err['stack']), /log\.test\.ts/)
})

test('the level holds for children too, and changes at run time', async () => {
  const { log, lines } = logging({ level: 'warn' })
  const child = log.child({ listener: 'a' })
  child.info({}, 'not shown')
  log.setLevel('debug')
  child.debug({}, 'shown')
  log.setLevel('silent')
  child.fatal({}, 'not shown')
  assert.equal(log.level, 'silent')
  await log.flush()
  assert.deepEqual(
    lines().map(({ msg, listener, level }) => [msg, listener, level]),
    [['shown', 'a', 'debug']],
  )
})

test('a fatal line is written before the call returns, behind those that wait', () => {
  const { log, lines } = logging()
  log.info({}, 'first')
  log.fatal({}, 'last words')
  assert.deepEqual(
    lines().map(({ msg }) => msg),
    ['first', 'last words'],
  )
})

test('what is lost while stderr is stuck is counted, and warnings are the last to be lost', async () => {
  let open = false
  let text = ''
  const { log } = logging({
    target: {
      write(chunk, offset, done) {
        if (!open) {
          setImmediate(done, Object.assign(new Error('busy'), { code: 'EAGAIN' }), 0)
          return
        }
        text += Buffer.from(chunk.subarray(offset)).toString()
        setImmediate(done, null, chunk.length - offset)
      },
      writeSync: () => 0,
    },
  })
  for (let index = 0; index < 10_000; index++) log.info({}, `line ${index}`)
  for (let index = 0; index < 50; index++) log.warn({}, `warning ${index}`)
  open = true
  await log.flush()
  const lines = text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const said = (start: string): number => lines.filter(({ msg }) => String(msg).startsWith(start)).length
  const lost = lines.filter(({ msg }) => msg === 'log lines dropped').reduce((sum, { count }) => sum + Number(count), 0)
  assert.ok(lost > 0)
  assert.equal(said('line ') + lost, 10_000)
  assert.equal(said('warning '), 50)
})

test('on a terminal a line is for people: time, level, message, fields', async () => {
  const { log, text } = logging({ readable: 'plain' })
  log.warn({ listener: '0.0.0.0:7443', keys: ['a', 'b'], words: 'two words' }, 'changes wait for a restart')
  await log.flush()
  assert.equal(text(), '18:41:07.123  warn   changes wait for a restart  listener=0.0.0.0:7443  keys=["a","b"]  words="two words"\n')
})

test('on a terminal an error has its stack under it, and nothing can forge a line or move the cursor', async () => {
  const { log, text } = logging({ readable: 'colour' })
  const evil = 'x\n18:41:07.123  info   all is well\u001b[2J\u009b1A\u202e'
  log.error({ err: new Error(evil), [evil]: evil }, evil)
  log.info({ err: 'not an error' }, 'fine')
  await log.flush()
  const lines = text().split('\n')
  assert.ok(lines.slice(1, -2).every((line) => line.startsWith('    ')))
  // oxlint-disable-next-line no-control-regex
  assert.equal(
    text()
      .replace(/\u001b\[(\d+)m/g, '')
      .match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/),
    null,
  )
})

test('the silent log takes every call', () => {
  silentLog.child({}).fatal({}, 'nothing')
})
