/** What the admin and health addresses give away, and to whom (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '#base/clock'
import { formatProblem } from '#base/located'
import { parseAddress } from '#base/units'
import { loadConfiguration } from '#config/load'
import { openAdminServer } from '#proxy/admin'
import { adminSources } from '#proxy/admin-sources'
import { createHealthServer } from '#telemetry/health'
import { silentLog } from '#telemetry/log'
import { get, startProbe } from '../support/probe.ts'
import { ask, askRaw, listenAnywhere } from '../support/small-client.ts'

const probe = await startProbe()
const { sidecar } = probe
let drained = 0
const sources = adminSources({
  sidecar: sidecar.sidecar,
  source: sidecar.source,
  ring: sidecar.ring,
  clock: systemClock,
  digestOf: () => '',
  drain: () => void drained++,
  setLogLevel() {},
})
const tcp = await openAdminServer({ address: { kind: 'tcp', host: '127.0.0.1', port: 0 }, sources, log: silentLog })
const socketPath = join(sidecar.dir, 'admin.sock')
const unix = await openAdminServer({ address: { kind: 'unix', path: socketPath }, sources, log: silentLog })
const health = createHealthServer({ checks: [], draining: () => false, metrics: sidecar.metrics, log: silentLog })
const healthPort = await listenAnywhere(health)
const port = (tcp.address() as AddressInfo).port
after(async () => {
  for (const server of [tcp, unix, health]) {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  await probe[Symbol.asyncDispose]()
})

test('62 · debug and admin addresses that leak or kill', async () => {
  const secret = 'hunter2-of-the-caller'
  await probe.send(get(`/a?token=${secret}`, `authorization: Bearer ${secret}`, `cookie: ${secret}`, `x-request-id: known-id`))
  const key = readFileSync(join(sidecar.dir, 'key.pem'), 'utf8').split('\n')[1] ?? ''
  assert.ok(key.length > 30)
  const pages = ['/v1/decisions', '/v1/decisions/known-id', '/v1/identity', '/v1/policies', '/v1/connections', '/v1/config']
  for (const target of [port, socketPath]) {
    for (const page of pages) {
      const { status, text } = await ask(target, page)
      assert.equal(status, 200, page)
      assert.ok(!text.includes(secret) && !text.includes(key) && !text.includes('PRIVATE KEY'), `${page} holds no secret`)
    }
  }

  // Nothing changes by a GET, and over TCP by nothing at all.
  const { generation } = sidecar.source.current
  for (const path of [
    '/v1/drain',
    '/v1/log-level',
    '/quitquitquit',
    '/shutdown',
    '/debug/pprof',
    '/v1/drain?force=1',
    '/metrics/../v1/drain',
  ]) {
    for (const target of [port, socketPath, healthPort]) {
      assert.match(String((await ask(target, path)).status), /^40[45]$/, path)
      const posted = await ask(target, path, { method: 'POST', body: '{"level":"debug"}' })
      if (target !== socketPath) assert.match(String(posted.status), /^40[45]$/, path)
    }
  }
  assert.equal(drained, 2, 'only by the two POSTs of /v1/drain on the Unix socket')
  assert.equal(sidecar.source.current.generation, generation)

  // A page in a browser, whose name was made to point here, has its own name as Host.
  for (const host of ['evil.example', 'evil.example:7000', '127.0.0.1.evil.example', 'localhost.evil.example', '10.0.0.1']) {
    const { status } = await ask(port, '/v1/config', { headers: { host } })
    assert.match(String(status), /^40[03]$/, host)
  }
  for (const lines of ['host: evil.example\r\nhost: localhost\r\n', 'host:\r\n', '']) {
    const answer = await askRaw(port, `GET /v1/identity HTTP/1.1\r\n${lines}\r\n`)
    assert.doesNotMatch(answer, /200 OK|spiffe:/, JSON.stringify(lines))
  }
  assert.equal(statSync(socketPath).mode & 0o777, 0o600)

  // The health port says alive, ready and how much: nothing of who, where or why.
  for (const page of [...pages, '/', '/config', '/env']) assert.equal((await ask(healthPort, page)).status, 404, page)
  const { text } = await ask(healthPort, '/metrics')
  assert.doesNotMatch(text, /spiffe:|hunter2|\/a\b/)

  for (const admin of ['0.0.0.0:7000', '10.0.0.1:7000', '[::]:7000', 'admin.example:7000']) {
    const address = parseAddress(admin)
    assert.ok(address)
    await assert.rejects(openAdminServer({ address, sources, log: silentLog }), { code: 'ERR_LISTEN' }, admin)
    // The document is refused before anything listens.
    sidecar.write('exposed.yaml', readFileSync(join(sidecar.dir, 'sidecar.yaml'), 'utf8').replace('admin: off', `admin: "${admin}"`))
    const { problems } = (await loadConfiguration({ file: join(sidecar.dir, 'exposed.yaml'), displayFolder: sidecar.dir })).sidecar
    assert.match(problems.map(formatProblem).join('\n'), /^exposed\.yaml:\d+:\d+: `spec\.admin`/, admin)
  }
})
