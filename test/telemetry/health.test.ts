import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { createHealthServer } from '#telemetry/health'
import type { ReadinessCheck } from '#telemetry/health'
import { silentLog } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'
import { ask, listenAnywhere } from '../support/small-client.ts'

interface State {
  draining: boolean
  readonly checks: ReadinessCheck[]
}

async function serving(body: (port: number, state: State) => Promise<void>): Promise<void> {
  const state: State = { draining: false, checks: [] }
  const metrics = createMetrics()
  metrics.policyRules(3)
  const server = createHealthServer({ checks: state.checks, draining: () => state.draining, metrics, log: silentLog })
  const port = await listenAnywhere(server)
  try {
    await body(port, state)
  } finally {
    metrics.close()
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
}

test('alive is who answers, ready is who passes every check', () =>
  serving(async (port, { checks }) => {
    let isReady = true
    checks.push({ name: 'identity', run: () => ({ ok: isReady, detail: isReady ? '' : 'the certificate ended' }) })
    assert.deepEqual([(await ask(port, '/livez')).text, (await ask(port, '/readyz')).text], ['ok\n', 'ready\n'])
    isReady = false
    const { status, text } = await ask(port, '/readyz')
    assert.deepEqual([status, text], [503, 'not ready\n'])
    assert.equal((await ask(port, '/livez')).status, 200)
  }))

test('`?verbose` lists the checks and says why one fails, each on one line', () =>
  serving(async (port, { checks }) => {
    checks.push({ name: 'identity', run: () => ({ ok: true, detail: '' }) })
    checks.push({ name: 'configuration', run: () => ({ ok: true, detail: 'the last good version is in force' }) })
    checks.push({ name: 'policies', run: () => ({ ok: false, detail: 'line 1\r\n[+] identity ok\u001b[2J' }) })
    assert.equal(
      (await ask(port, '/readyz?verbose')).text,
      '[+] draining ok\n[+] identity ok\n[+] configuration ok: the last good version is in force\n[-] policies failed: line 1 [+] identity ok [2J\nnot ready\n',
    )
  }))

test('who drains is alive and not ready', () =>
  serving(async (port, state) => {
    state.draining = true
    assert.equal((await ask(port, '/livez')).status, 200)
    assert.deepEqual(
      [(await ask(port, '/readyz')).status, (await ask(port, '/readyz?verbose')).text],
      [503, '[-] draining failed: it is draining\nnot ready\n'],
    )
  }))

test('a check that throws makes the sidecar not ready, without saying more', () =>
  serving(async (port, { checks }) => {
    checks.push({
      name: 'broken',
      run() {
        throw new Error('secret')
      },
    })
    const { status, text } = await ask(port, '/readyz?verbose')
    assert.equal(status, 500)
    assert.doesNotMatch(text, /secret/)
  }))

test('metrics are text of Prometheus', () =>
  serving(async (port) => {
    const { status, headers, text } = await ask(port, '/metrics')
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
    assert.match(text, /^postern_policy_rules 3$/m)
  }))

test('there is nothing else on the port, and nothing can be changed there', () =>
  serving(async (port) => {
    for (const path of ['/', '/healthz', '/metrics/', '/v1/decisions', '/v1/config', '/debug/pprof', '/livez/x', '//livez']) {
      const { status, text } = await ask(port, path)
      assert.deepEqual([status, text], [404, '{"title":"Not Found","status":404}\n'], path)
    }
    for (const path of ['/livez', '/readyz', '/metrics']) assert.equal((await ask(port, path, { method: 'POST' })).status, 405, path)
    assert.equal((await ask(port, '/v1/drain', { method: 'POST' })).status, 404)
  }))
