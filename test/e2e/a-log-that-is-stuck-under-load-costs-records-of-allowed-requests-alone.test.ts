import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createFifo } from '../support/fifo.ts'
import { startLoad } from '../support/load.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

/** The full run is with `POSTERN_BLOCKED_SECONDS=60`; the suite's ends when records are being lost. */
const BLOCKED_MS = 1000 * Number(process.env['POSTERN_BLOCKED_SECONDS'] ?? 0)
/** Losses that are seen before the log flows again. */
const LOST = 500
const MIB = 1024 * 1024
/** Makes records long, so that few of them fill what may wait. */
const OPEN = `/open/${'x'.repeat(1000)}`

test('a log that is stuck under load costs records of allowed requests alone: not latency, not memory, not refusals', async (t) => {
  using stdout = createFifo()
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({
    app: app.port,
    policy: '- allow: { and: [http_path: { starts_with: /open/ }] }\n',
    stdout: stdout.writer,
  })
  let text = ''
  let blocked = false
  const reading = setInterval(() => {
    if (!blocked) text += stdout.read()
  }, 5)
  t.after(() => clearInterval(reading))
  await using load = await startLoad({
    port: sidecar.port,
    svid: await sidecar.mesh.issue('/ns/test/sa/caller'),
    connections: 20,
    perSecond: 800,
    paths: [...Array.from({ length: 9 }, () => OPEN), '/closed'],
  })
  const dropped = (): Promise<number> => sidecar.metric('postern_records_dropped_total')

  while (app.received.length < 1000) await delay(50)
  const flowing = await load.mark()
  const before = sidecar.residentBytes()

  blocked = true
  const begun = performance.now()
  while ((await dropped()) === 0) await delay(100)
  const full = sidecar.residentBytes()
  while ((await dropped()) < LOST || performance.now() - begun < BLOCKED_MS) await delay(100)
  const stuck = await load.mark()
  const after = sidecar.residentBytes()
  const seconds = (performance.now() - begun) / 1000

  blocked = false
  const total = await load.stop()
  const lost = await dropped()
  sidecar.child.kill('SIGTERM')
  assert.equal(await sidecar.exited, 0)
  text += stdout.read()

  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const records = lines.filter((line) => line['msg'] === 'decision')
  const notices = lines.filter((line) => line['msg'] === 'records dropped')
  const ms = (value: number): string => `${value.toFixed(1)} ms`
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)} MiB`
  t.diagnostic(
    `stuck for ${seconds.toFixed(0)} s: ${total.requests} requests, ${lost} records lost; p50 ${ms(stuck.p50)}, p99 ${ms(stuck.p99)} ` +
      `(before: ${ms(flowing.p50)}, ${ms(flowing.p99)}); resident ${mib(before)} before, ${mib(full)} when full, ${mib(after)} at the end`,
  )
  assert.deepEqual(total.statuses, { 200: records.length + lost - (total.statuses['403'] ?? 0), 403: total.statuses['403'] })
  assert.equal(records.length + lost, total.requests, 'what is missing is what was counted')
  assert.equal(
    notices.reduce((sum, { allowed }) => sum + Number(allowed), 0),
    lost,
    'and what the log itself says',
  )
  assert.equal(
    notices.reduce((sum, { refused }) => sum + Number(refused), 0),
    0,
  )
  assert.equal(records.filter(({ decision }) => decision === 'deny').length, total.statuses['403'], 'every refusal is on record')
  assert.ok(stuck.p50 < 20 + 5 * flowing.p50, `p50 ${ms(stuck.p50)}, ${ms(flowing.p50)} before`)
  // As it does while the log flows: the heap is collected every minute or two.
  assert.ok(after - full < 64 * MIB, `memory grew by ${mib(after - full)} after nothing more could wait`)
})
