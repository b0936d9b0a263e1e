import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCounterFamily, createHistogramFamily } from '#telemetry/families'
import { createMetrics } from '#telemetry/metrics'
import type { Metrics } from '#telemetry/metrics'
import { createNoMetrics } from '#telemetry/no-metrics'

interface Scrape {
  readonly types: ReadonlyMap<string, string>
  /** `name{labels}` → value, as written. */
  readonly values: ReadonlyMap<string, number>
}

/** A strict reader of the text format 0.0.4: whatever it does not know is an error. */
function parseText(text: string): Scrape {
  const types = new Map<string, string>()
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    if (line === '' || /^# HELP [a-z_]+ \S.*$/.test(line)) continue
    const type = /^# TYPE ([a-z_]+) (counter|gauge|histogram|summary)$/.exec(line)
    if (type !== null) {
      types.set(type[1] ?? '', type[2] ?? '')
      continue
    }
    const sample = /^([a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (-?[0-9.e+-]+|\+Inf|NaN)$/.exec(line)
    assert.ok(sample, `not in the text format: ${line}`)
    assert.ok(!values.has(sample[1] ?? ''), `twice: ${line}`)
    values.set(sample[1] ?? '', Number(sample[2]))
  }
  return { types, values }
}

async function scrape(metrics: Metrics): Promise<Scrape> {
  const { contentType, text } = await metrics.render()
  assert.equal(contentType, 'text/plain; version=0.0.4; charset=utf-8')
  return parseText(text)
}

function withMetrics(title: string, body: (metrics: Metrics) => Promise<void>): void {
  void test(title, async () => {
    const metrics = createMetrics()
    try {
      await body(metrics)
    } finally {
      metrics.close()
    }
  })
}

withMetrics('what the request path counts is what a scrape shows', async (metrics) => {
  const listener = metrics.listener('0.0.0.0:7443', 'http1')
  for (let index = 0; index < 3; index++) listener.request('allow', undefined, 0.004, 0.000_000_8)
  listener.request('deny', 'ERR_POLICY_DENIED', 0.0002, 0.000_003)
  listener.request('allow', 'ERR_UPSTREAM_CLOSED', 30, 0)
  listener.handshake('accepted', undefined)
  listener.handshake('refused', 'ERR_TLS_HANDSHAKE')
  listener.connectionOpened()
  listener.connectionOpened()
  listener.connectionClosed()
  listener.shadow('deny', 'shop/next', 'no-web')
  const { values, types } = await scrape(metrics)
  const at = 'listener="0.0.0.0:7443"'
  const wanted: Readonly<Record<string, number>> = {
    [`postern_requests_total{${at},protocol="http1",decision="allow",reason=""}`]: 3,
    [`postern_requests_total{${at},protocol="http1",decision="deny",reason="ERR_POLICY_DENIED"}`]: 1,
    [`postern_requests_total{${at},protocol="http1",decision="allow",reason="ERR_UPSTREAM_CLOSED"}`]: 1,
    [`postern_request_duration_seconds_bucket{${at},protocol="http1",le="0.001"}`]: 1,
    [`postern_request_duration_seconds_bucket{${at},protocol="http1",le="0.005"}`]: 4,
    [`postern_request_duration_seconds_bucket{${at},protocol="http1",le="10"}`]: 4,
    [`postern_request_duration_seconds_bucket{${at},protocol="http1",le="+Inf"}`]: 5,
    [`postern_request_duration_seconds_count{${at},protocol="http1"}`]: 5,
    [`postern_decision_duration_seconds_bucket{${at},protocol="http1",le="0.000001"}`]: 3,
    [`postern_decision_duration_seconds_count{${at},protocol="http1"}`]: 4,
    [`postern_handshakes_total{${at},result="accepted",reason=""}`]: 1,
    [`postern_handshakes_total{${at},result="refused",reason="ERR_TLS_HANDSHAKE"}`]: 1,
    [`postern_connections{${at}}`]: 1,
    [`postern_shadow_requests_total{${at},verdict="deny"}`]: 1,
    [`postern_shadow_rules_total{${at},policy="shop/next",rule="no-web",verdict="deny"}`]: 1,
  }
  for (const [name, value] of Object.entries(wanted)) assert.equal(values.get(name), value, name)
  assert.ok(Math.abs((values.get(`postern_request_duration_seconds_sum{${at},protocol="http1"}`) ?? 0) - 30.0122) < 1e-9)
  assert.equal(types.get('postern_request_duration_seconds'), 'histogram')
  assert.equal(types.get('postern_requests_total'), 'counter')
})

withMetrics('the same listener and the same peer have the same handle', async (metrics) => {
  assert.equal(metrics.listener('a', 'http1'), metrics.listener('a', 'http1'))
  assert.notEqual(metrics.listener('a', 'http1'), metrics.listener('a', 'http2'))
  assert.equal(metrics.peer('shop', 'cart'), metrics.peer('shop', 'cart'))
})

withMetrics('shadow verdicts are counted by 500 rules at most; the rest are one', async (metrics) => {
  const listener = metrics.listener('a', 'http1')
  for (let index = 0; index < 2000; index++) listener.shadow(index % 2 === 0 ? 'allow' : 'deny', 'p', `rule-${index}`)
  listener.shadow('deny', 'p', 'rule-0')
  const { values } = await scrape(metrics)
  const rules = [...values].filter(([name]) => name.startsWith('postern_shadow_rules_total'))
  assert.equal(rules.length, 503)
  assert.equal(
    rules.reduce((sum, [, value]) => sum + value, 0),
    2001,
  )
})

withMetrics('peers have at most 200 series, however many there are; the rest are one', async (metrics) => {
  for (let index = 0; index < 5000; index++) metrics.peer('shop', `sa-${index}`).request(index % 2 === 0 ? 'allow' : 'deny')
  metrics.peer('shop', 'sa-0').request('allow')
  const { values } = await scrape(metrics)
  const peers = [...values].filter(([name]) => name.startsWith('postern_peer_requests_total'))
  assert.equal(peers.length, 200)
  assert.equal(
    peers.reduce((sum, [, value]) => sum + value, 0),
    5001,
  )
  assert.equal(values.get('postern_peer_requests_total{namespace="shop",service_account="sa-0",decision="allow"}'), 2)
  assert.equal(values.get('postern_peer_requests_total{namespace="other",service_account="other",decision="deny"}'), 2451)
})

withMetrics('a peer without service account has empty labels, and an endless name is cut', async (metrics) => {
  metrics.peer(undefined, undefined).request('allow')
  metrics.peer('n'.repeat(2000), 's').request('allow')
  const { values } = await scrape(metrics)
  assert.equal(values.get('postern_peer_requests_total{namespace="",service_account="",decision="allow"}'), 1)
  assert.equal(values.get(`postern_peer_requests_total{namespace="${'n'.repeat(128)}",service_account="s",decision="allow"}`), 1)
})

withMetrics('what is in force is shown in base units, and what is gone is forgotten', async (metrics) => {
  metrics.certificateExpiry('own', 1_795_545_667_500)
  metrics.bundleRoots(
    new Map([
      ['example.org', 2],
      ['partner.example', 1],
    ]),
  )
  metrics.bundleRoots(new Map([['example.org', 1]]))
  metrics.policyRules(10_000)
  let reload = { successful: true, at: 1_795_545_000_000 }
  metrics.lastReload(() => reload)
  await metrics.render()
  reload = { successful: false, at: 1_795_545_667_000 }
  metrics.buildInfo('0.1.0', 'v26.10.0')
  metrics.recordsDropped(() => ({ droppedAllowed: 5, droppedRefused: 1 }))
  let size = 3
  metrics.observe('postern_tunnels', 'Open tunnels.', () => size)
  metrics.counter({ name: 'postern_custom_total', help: 'A counter of another module.', labelNames: ['kind'] }).with('a"\\\nb').value++
  const { values } = await scrape(metrics)
  assert.equal(values.get('postern_certificate_expiry_timestamp_seconds{certificate="own"}'), 1_795_545_667.5)
  assert.equal(values.get('postern_bundle_roots{trust_domain="example.org"}'), 1)
  assert.equal(values.has('postern_bundle_roots{trust_domain="partner.example"}'), false)
  assert.equal(values.get('postern_policy_rules'), 10_000)
  assert.equal(values.get('postern_config_last_reload_successful'), 0)
  assert.equal(values.get('postern_config_last_reload_success_timestamp_seconds'), 1_795_545_000)
  assert.equal(values.get('postern_build_info{version="0.1.0",node="v26.10.0"}'), 1)
  assert.equal(values.get('postern_records_dropped_total{decision="allow"}'), 5)
  assert.equal(values.get('postern_records_dropped_total{decision="deny"}'), 1)
  assert.equal(values.get('postern_tunnels'), 3)
  assert.equal(values.get('postern_custom_total{kind="a\\"\\\\\\nb"}'), 1)
  size = 4
  assert.equal((await scrape(metrics)).values.get('postern_tunnels'), 4)
})

withMetrics('the process shows its CPU, its memory, its start and how late its event loop runs', async (metrics) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  // Blocks the loop in a turn that the sampler has been waiting for.
  setTimeout(() => {
    const end = performance.now() + 120
    while (performance.now() < end);
    setTimeout(resolve, 50)
  }, 50)
  await promise
  const { values } = await scrape(metrics)
  assert.ok((values.get('process_cpu_seconds_total') ?? 0) > 0)
  assert.ok((values.get('process_resident_memory_bytes') ?? 0) > 1e7)
  assert.ok(Math.abs((values.get('process_start_time_seconds') ?? 0) - performance.timeOrigin / 1000) < 0.01)
  const worst = values.get('postern_event_loop_delay_seconds{quantile="1"}') ?? 0
  assert.ok(worst > 0.08 && worst < 5, `${worst}`)
  assert.ok((values.get('postern_event_loop_delay_seconds_count') ?? 0) > 0)
})

withMetrics('a name cannot be taken twice', async (metrics) => {
  assert.throws(() => metrics.gauge({ name: 'postern_connections', help: 'x' }), TypeError)
})

test('a family keeps to its capacity and to its labels', () => {
  const family = createCounterFamily({ name: 'x_total', help: 'x', labelNames: ['a', 'b'], capacity: 3 })
  for (let index = 0; index < 10; index++) family.with(`${index}`, 'b').value++
  const samples = family.samples()
  assert.equal(samples.length, 4)
  assert.deepEqual(samples.at(-1), { suffix: '', labels: { a: 'other', b: 'other' }, value: 7 })
  assert.throws(() => family.with('one'), TypeError)
})

test('a value on the bound of a bucket is in that bucket', () => {
  const family = createHistogramFamily({ name: 'x', help: 'x', bounds: [1, 2] })
  for (const value of [0, 1, 1.5, 2, 3]) family.with().observe(value)
  assert.deepEqual(
    family.samples().map(({ value }) => value),
    [2, 4, 5, 7.5, 5],
  )
})

test('metrics that count nothing take every call', async () => {
  const metrics = createNoMetrics()
  metrics.listener('a', 'http1').request('allow', undefined, 1, 1)
  metrics.peer('a', 'b').request('deny')
  metrics.gauge({ name: 'x', help: 'x' }).with().value = 1
  assert.equal((await metrics.render()).text, '')
})
