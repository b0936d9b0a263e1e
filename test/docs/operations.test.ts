/** Keeps docs/operations.md in step with what is written, counted and served. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDecisionLog } from '#audit/decision-log'
import { createRecordText } from '#audit/record-text'
import { systemClock } from '#base/clock'
import { silentLog } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'
import { denied, exchange, handshake, refusal, token } from '../support/events.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(ROOT, 'docs', 'operations.md'), 'utf8')

/** Rows of the first table under a heading, cells without their backticks. */
function table(heading: string): string[][] {
  const start = page.indexOf(`\n${heading}\n`)
  assert.notEqual(start, -1, `no heading ${heading}`)
  const lines = page.slice(start + heading.length + 2).split('\n')
  const first = lines.findIndex((line) => line.startsWith('|'))
  const rows = lines.slice(first)
  const end = rows.findIndex((line) => !line.startsWith('|'))
  return rows.slice(2, end === -1 ? undefined : end).map((row) =>
    row
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim()),
  )
}

const firstColumn = (heading: string): string[] => table(heading).map(([cell = '']) => cell.replaceAll('`', ''))

/** `peer.id` for nested fields; lists count as one. */
function fieldsOf(record: object, prefix = ''): string[] {
  return Object.entries(record).flatMap(([key, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? fieldsOf(value, `${key}.`) : [prefix + key],
  )
}

const text = createRecordText({ digestOf: () => 'ab12' })
const parse = (line: string): object => JSON.parse(line) as object

test('every field of a decision record is in the table, and no other', () => {
  const shadow = { allow: false, reason: 'ERR_POLICY_NO_ALLOW', policy: 'p', rule: 'r' } as const
  const full = refusal({ token, detail: 'x', grpcStatus: 7, path: '/'.repeat(2000), decision: { ...denied, shadow } })
  assert.deepEqual(firstColumn('### Fields of `"msg":"decision"`').toSorted(), fieldsOf(parse(text.exchange(full))).toSorted())
})

test('fields that are said to be always there are there in the barest record', () => {
  const bare = exchange({ decision: undefined, traceId: '', origin: { ...exchange().origin, peer: undefined, tls: undefined } })
  const always = table('### Fields of `"msg":"decision"`')
    .filter(([, when]) => when === 'always')
    .map(([field = '']) => field.replaceAll('`', ''))
  assert.deepEqual(fieldsOf(parse(text.exchange(bare))).toSorted(), always.toSorted())
})

test('every field of a handshake record is in the table, and no other', () => {
  const full = handshake({ detail: 'x'.repeat(2000) })
  assert.deepEqual(firstColumn('### Fields of `"msg":"handshake"`').toSorted(), fieldsOf(parse(text.handshake(full))).toSorted())
})

test('every field of the notice of dropped records is in the table, and no other', async () => {
  let written = ''
  let busy = true
  const log = createDecisionLog({
    target: {
      write(chunk, offset, done) {
        if (!busy) written += Buffer.from(chunk.subarray(offset)).toString()
        setImmediate(done, busy ? Object.assign(new Error('busy'), { code: 'EAGAIN' }) : null, busy ? 0 : chunk.length - offset)
      },
      writeSync: () => 0,
    },
    clock: systemClock,
    random: () => 0.5,
    log: silentLog,
    capacityBytes: 1000,
  })
  for (let index = 0; index < 5; index++) log.exchange(exchange())
  busy = false
  await log.flush()
  const notice = written.split('\n').find((line) => line.includes('records dropped')) ?? '{}'
  assert.deepEqual(firstColumn('### Fields of `"msg":"records dropped"`').toSorted(), fieldsOf(parse(notice)).toSorted())
})

test('the example of a record is a record', () => {
  const example = /```json\n(.+)\n```/.exec(page)?.[1] ?? '{}'
  const known = firstColumn('### Fields of `"msg":"decision"`')
  for (const field of fieldsOf(parse(example))) assert.ok(known.includes(field), field)
})

/** Names in the sources: other modules register their own. */
function metricNames(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [...readFileSync(join(ROOT, folder, file), 'utf8').matchAll(/'((?:postern|process)_[a-z_]+)'/g)])
    .map(([, name = '']) => name)
}

test('every metric of the sidecar is in the table with its type and labels, and no other', async () => {
  const metrics = createMetrics()
  metrics.listener('l', 'http1').request('allow', undefined, 1, 1)
  metrics.peer('n', 's').request('allow')
  const { text: scrape } = await metrics.render()
  metrics.close()
  const documented = new Map(table('## Metrics').map(([name = '', type = '', labels = '']) => [name.replaceAll('`', ''), { type, labels }]))
  for (const [, name = '', type = ''] of scrape.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    assert.equal(documented.get(name)?.type, type, name)
    const sample = new RegExp(`^${name}(?:_count)?\\{(.*)\\} `, 'm').exec(scrape)?.[1]
    const labels = [...(sample ?? '').matchAll(/([a-z_]+)="/g)].map(([, label = '']) => `\`${label}\``)
    if (sample !== undefined) assert.equal(documented.get(name)?.labels, labels.join(' '), name)
  }
  const inSidecar = ['src/telemetry', 'src/proxy', 'src/cli', 'src/config', 'src/svid-source', 'src/audit'].flatMap(metricNames)
  assert.deepEqual([...documented.keys()].toSorted(), [...new Set(inSidecar)].toSorted())
})

const ROUTE = /path: '(\/[^']+)'/g
for (const { heading, file } of [
  { heading: '## Health', file: 'src/telemetry/health.ts' },
  { heading: '## Admin', file: 'src/proxy/admin.ts' },
]) {
  test(`every path of ${file} is in the table, and no other`, () => {
    const served = [...readFileSync(join(ROOT, file), 'utf8').matchAll(ROUTE)].map(([, path = '']) => path)
    const documented = firstColumn(heading).map((cell) => cell.split(' ')[1] ?? '')
    assert.deepEqual(documented.toSorted(), served.toSorted())
  })
}

test('every reason code that the page names exists', async () => {
  const { REASONS } = await import('#base/reasons')
  for (const [code] of page.matchAll(/ERR_[A-Z_0-9]+/g)) assert.ok(Object.hasOwn(REASONS, code), code)
})
