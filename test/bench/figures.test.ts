import assert from 'node:assert/strict'
import { test } from 'node:test'
import { quieterHalf } from '../../bench/cases/cpu.ts'
import { parseMicro } from '../../bench/cases/micro.ts'
import { parseH2load } from '../../bench/load/h2load.ts'
import { parseWrk } from '../../bench/load/wrk.ts'
import { median } from '../../bench/median.ts'
import { judgeLimits, judgeRatios, notMeasured, page, terminalTable, unjudged } from '../../bench/report.ts'

const OUTPUT = `Running 1s test @ https://127.0.0.1:9443/
  1 threads and 4 connections
  127 requests in 1.10s, 22.20KB read
Requests/sec:    115.41
`
const COUNTS = 'handshakes=129 presented=129 resumed=0\n'

test('what wrk counted is read', () => {
  assert.deepEqual(parseWrk(OUTPUT, COUNTS), { requests: 127, handshakes: 129, failures: 0 })
})

test('socket errors and answers other than 2xx and 3xx are failures', () => {
  const output = `${OUTPUT}  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n`
  assert.equal(parseWrk(output, COUNTS).failures, 15)
})

test('a resumed session is no measurement', () => {
  assert.throws(() => parseWrk(OUTPUT, 'handshakes=129 presented=129 resumed=1\n'), /1 of 129 TLS sessions were resumed/)
})

test('a handshake without the client certificate is no measurement', () => {
  assert.throws(() => parseWrk(OUTPUT, 'handshakes=129 presented=0 resumed=0\n'), /Only 0 of 129/)
})

test('what wrk says when it fails is passed on', () => {
  assert.throws(() => parseWrk('', 'client-certificate: BENCH_KEY cannot be used\n'), /wrk failed: client-certificate/)
})

const H2LOAD = `finished in 1.00s, 5316.00 req/s, 5.83MB/s
requests: 200 total, 216 started, 200 done, 200 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx
`
const H2LOADS = [
  { title: 'nothing', from: '', to: '', failures: 0 },
  { title: 'what failed', from: '0 failed', to: '3 failed', failures: 3 },
  { title: 'answers of 4xx and 5xx', from: '0 4xx, 0 5xx', to: '1 4xx, 2 5xx', failures: 3 },
  { title: 'what was never done', from: '200 done', to: '190 done', failures: 10 },
]
for (const { title, from, to, failures } of H2LOADS) {
  test(`of what h2load counted, ${title} is a failure`, () => {
    assert.equal(parseH2load(H2LOAD.replace(from, to), COUNTS).failures, failures)
  })
}

test('what h2load says when it fails is passed on', () => {
  assert.throws(() => parseH2load('', 'client-certificate: BENCH_KEY cannot be used\n'), /h2load failed: client-certificate/)
})

test('a figure of which nothing is promised is not judged', () => {
  const row = unjudged('download', 30, PEERS, 'µs')
  assert.equal(row.measured, '30 µs: 1.50 × nginx, 0.75 × Envoy')
  assert.match(terminalTable([row]), /Envoy\s*$/)
})

test('the lines of an in-process benchmark are read', () => {
  const output = 'two kinds\n   213 ns  a record\n  1.5 ns  nothing\n10 rules: 0.200 µs a decision (90 % allowed)\n'
  assert.deepEqual(parseMicro('decision', output), [
    { program: 'decision', name: 'a record', nanoseconds: 213 },
    { program: 'decision', name: 'nothing', nanoseconds: 1.5 },
    { program: 'decision', name: '10 rules', nanoseconds: 200 },
  ])
})

test('the median is the middle, or the mean of the two in the middle', () => {
  assert.equal(median([9, 1, 5]), 5)
  assert.equal(median([4, 1, 3, 100]), 3.5)
  assert.throws(() => median([]), TypeError)
})

test('turns in which others used the machine most are left out', () => {
  const turns = [0.4, 0.1, 0, 0.3, 0.2].map((foreign, index) => ({ foreign, micros: index, rate: 1 }))
  assert.deepEqual(
    quieterHalf(turns).map(({ micros }) => micros),
    [2, 1, 4],
  )
})

const PEERS = new Map([
  ['nginx', 20],
  ['Envoy', 40],
])
const BUDGETS = [
  { peer: 'nginx', atMost: 1.3 },
  { peer: 'Envoy', atMost: 0.75 },
]
const RATIOS = [
  { title: 'within both ratios', ours: 26, kept: true, measured: '26.0 µs: 1.30 × nginx, 0.65 × Envoy' },
  { title: 'over one of the ratios', ours: 26.2, kept: false, measured: '26.2 µs: 1.31 × nginx, 0.66 × Envoy' },
]
for (const { title, ours, kept, measured } of RATIOS) {
  test(`a figure ${title} is ${kept ? 'ok' : 'over'}`, () => {
    const row = judgeRatios('request', ours, PEERS, BUDGETS, 'µs')
    assert.deepEqual([row.kept, row.measured], [kept, measured])
  })
}

test('without one of its peers a budget is not judged', () => {
  assert.equal(judgeRatios('request', 20, new Map([['nginx', 20]]), BUDGETS, 'µs').kept, undefined)
})

test('every figure must keep its own limit', () => {
  const figures = (loaded: number): { value: number; atMost: number }[] => [
    { value: 70, atMost: 75 },
    { value: loaded, atMost: 130 },
  ]
  assert.equal(judgeLimits('memory', figures(130), 'MB').kept, true)
  assert.equal(judgeLimits('memory', figures(131), 'MB').kept, false)
  assert.equal(judgeLimits('memory', figures(131), 'MB').measured, '70 · 131 MB')
})

test('the page says what is ok, over and not measured', () => {
  const report = {
    rows: [
      judgeLimits('memory', [{ value: 1, atMost: 2 }], 'MB'),
      judgeLimits('time', [{ value: 3, atMost: 2 }], 'ms'),
      notMeasured('token', '≤ 3 µs', 'no such program'),
    ],
    details: [{ title: 'Figures', columns: ['', 'MB'], rows: [['nginx', '1']] }],
  }
  const text = page(report, { date: '2026-11-24T00:00:00Z', machine: '2 cores', versions: { nginx: '1.22' }, busyBefore: 0.4 })
  assert.match(text, /^\| memory \| ≤ 2 MB \| 1\.00 MB \| ok \|$/m)
  assert.match(text, /^\| time \| ≤ 2 ms \| 3\.00 ms \| over \|$/m)
  assert.match(text, /^\| token \| ≤ 3 µs \| no such program \| not measured \|$/m)
  assert.match(text, /others used 40 % when it began/)
  assert.match(text, /^## Figures$/m)
})
