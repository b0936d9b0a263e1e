import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createFifo } from '../support/fifo.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

const POLICY = '- allow: { and: [http_path: { starts_with: /open } ] }\n'

test('`decisions: refused` leaves out what was allowed and answered, and nothing else', async () => {
  await using app = await startApp((request, response) => {
    if (request.url === '/open/broken') response.destroy()
    else response.end('ok')
  })
  await using sidecar = await startSidecarProcess({ app: app.port, policy: POLICY, spec: '  records: { decisions: refused }\n' })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  for (let index = 0; index < 20; index++) assert.equal((await call(sidecar.port, agent, '/open')).status, 200)
  assert.equal((await call(sidecar.port, agent, '/closed')).status, 403)
  assert.equal((await call(sidecar.port, agent, '/open/broken')).status, 502)
  assert.equal((await call(sidecar.port, agent, '/a//b')).status, 400)
  await sidecar.record((record) => record['path'] === '/a//b')
  assert.deepEqual(
    sidecar.records.map((record) => [record['path'], record['decision'], record['reason']]),
    [
      ['/closed', 'deny', 'ERR_POLICY_NO_ALLOW'],
      ['/open/broken', 'allow', 'ERR_UPSTREAM_CLOSED'],
      ['/a//b', 'deny', 'ERR_PATH_DOUBLE_SLASH'],
    ],
  )
  assert.equal(await sidecar.metric('postern_requests_total', 'decision="allow"'), 21, 'metrics count them all')
})

test('`allowed: 0.1` records about a tenth of what was allowed, and every refusal', async (t) => {
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({ app: app.port, policy: POLICY, spec: '  records: { allowed: 0.1 }\n' })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  for (let index = 0; index < 400; index++) {
    await call(sidecar.port, agent, '/open')
    if (index % 10 === 0) await call(sidecar.port, agent, '/closed')
  }
  await call(sidecar.port, agent, '/closed/last')
  await sidecar.record((record) => record['path'] === '/closed/last')
  const allowed = sidecar.records.filter((record) => record['decision'] === 'allow').length
  const refused = sidecar.records.filter((record) => record['decision'] === 'deny').length
  t.diagnostic(`${allowed} of 400 allowed requests are on record`)
  // Six standard deviations of a binomial distribution: once in half a billion runs.
  assert.ok(allowed > 4 && allowed < 76, `${allowed} of 400`)
  assert.equal(refused, 41)
})

test('`onOverload: refuse` refuses requests while their records cannot be written, and none after', async (t) => {
  using stdout = createFifo()
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({
    app: app.port,
    policy: POLICY,
    spec: '  records: { onOverload: refuse }\n',
    stdout: stdout.writer,
  })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'), { maxSockets: 16 })
  let allowed = 0
  let overloaded = 0
  // Long paths make long records: some 2 MiB of them fill the half of the queue from which on requests are refused.
  const path = `/open/${'x'.repeat(1000)}`
  while (overloaded === 0) {
    const answers = await Promise.all(Array.from({ length: 16 }, () => call(sidecar.port, agent, path)))
    for (const { status, headers } of answers) {
      if (status === 200) allowed++
      else {
        assert.equal(status, 503)
        assert.equal(headers['retry-after'], '1')
        overloaded++
      }
    }
  }
  const reached = app.received.length
  assert.equal((await call(sidecar.port, agent, path)).status, 503)
  assert.equal(app.received.length, reached, 'a request without record reaches no app')

  let text = ''
  let status = 503
  while (status === 503) {
    text += stdout.read()
    ;({ status } = await call(sidecar.port, agent, '/open/again'))
    if (status === 503) overloaded++
  }
  assert.equal(status, 200)
  sidecar.child.kill('SIGTERM')
  let ended = false
  const exited = sidecar.exited.finally(() => (ended = true))
  while (!ended) {
    text += stdout.read()
    await new Promise((resolve) => void setImmediate(resolve))
  }
  assert.equal(await exited, 0)
  text += stdout.read()
  const records = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const written = records.filter((record) => record['status'] === 200).length
  t.diagnostic(`${allowed} requests were allowed before, ${overloaded} refused for want of records`)
  assert.equal(written, allowed + 1, 'every request that was allowed is on record')
})
