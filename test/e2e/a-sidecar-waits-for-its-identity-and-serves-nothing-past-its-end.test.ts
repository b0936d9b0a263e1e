/** The life of a process around its identity: alive while it waits, ready once it has one, silent once that has ended. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import process from 'node:process'
import { test, type TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { startApp } from '../fakes/apps.ts'
import { type FakeCa, startFakeCa } from '../fakes/ca.ts'
import { createTestMesh } from '../support/authority.ts'
import { dial, readToEnd } from '../support/mtls-client.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { runSidecar } from '../support/sidecar.ts'
import { shiftedClock } from '../support/shifted-clock.ts'
import { createSidecarFolder } from '../support/sidecar-folder.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { ask, listenAnywhere } from '../support/small-client.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts')

function identity(ca: FakeCa, more = ''): string {
  return `{ ca: { address: "127.0.0.1:${ca.port}", bundle: bundle.pem, attest: { oidc: { file: token } }${more} } }`
}

/** Until `/readyz` or `/livez` on the Unix socket answers with that status. */
async function untilStatus(socket: string, path: string, status: number): Promise<string> {
  for (;;) {
    const answer = await ask(socket, path).catch(() => undefined)
    if (answer?.status === status) return answer.text
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function spawnSidecar(
  t: TestContext,
  dir: string,
  file: string,
): { readonly pid: number; readonly exited: Promise<unknown[]>; readonly kill: (signal: NodeJS.Signals) => void } {
  const child = spawn(process.execPath, [MAIN, 'sidecar', '--config', file], { cwd: dir, stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  return { pid: child.pid!, exited: once(child, 'exit'), kill: (signal) => void child.kill(signal) }
}

test('while the authority is away a sidecar is alive and not ready; it serves once it has an identity, and ends when it is told to', async (t) => {
  await using ca = await startFakeCa()
  await ca.stop()
  using folder = await createSidecarFolder({ mesh: ca.mesh, identity: identity(ca), health: 'unix:h.sock' })
  folder.write('token', 'secret')
  const health = join(folder.dir, 'h.sock')
  const child = spawnSidecar(t, folder.dir, folder.file)
  assert.equal(await untilStatus(health, '/livez', 200), 'ok\n')
  assert.match(await untilStatus(health, '/readyz?verbose', 503), /\[-\] identity failed: there is none yet/)
  await ca.start()
  await untilStatus(health, '/readyz', 200)
  child.kill('SIGTERM')
  assert.deepEqual(await child.exited, [0, null])
})

test('a sidecar that waits for its identity ends well when it is told to', async (t) => {
  await using ca = await startFakeCa()
  await ca.stop()
  using folder = await createSidecarFolder({ mesh: ca.mesh, identity: identity(ca), health: 'unix:h.sock' })
  folder.write('token', 'secret')
  const child = spawnSidecar(t, folder.dir, folder.file)
  await untilStatus(join(folder.dir, 'h.sock'), '/livez', 200)
  child.kill('SIGTERM')
  assert.deepEqual(await child.exited, [0, null])
})

test('a document with a fault elsewhere spends no token', async () => {
  await using ca = await startFakeCa()
  using folder = await createSidecarFolder({ mesh: ca.mesh, identity: identity(ca), policy: '- allow: { and: [nonsense: 1] }\n' })
  folder.write('token', 'secret')
  const child = spawn(process.execPath, [MAIN, 'sidecar', '--config', folder.file], { cwd: folder.dir, stdio: 'ignore' })
  assert.deepEqual(await once(child, 'exit'), [2, null])
  assert.deepEqual(ca.requests, [])
})

/** The certificate that was shown, or undefined where the connection was refused before or after the handshake. */
async function shown(
  port: number,
  svid: Parameters<typeof dial>[1],
): Promise<{ readonly end: number; readonly answer: string } | undefined> {
  let socket: TLSSocket
  try {
    socket = await dial(port, svid)
  } catch {
    return undefined
  }
  const end = Date.parse(socket.getPeerX509Certificate()?.validTo ?? '')
  const answer = readToEnd(socket)
  socket.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  return { end, answer: await answer }
}

test('a process stopped past the end of its certificate serves nothing until it has another one', async () => {
  await using app = await startApp()
  await using ca = await startFakeCa({ ttl: 4_000 })
  ca.tokens.set('secret', '/ns/test/sa/service')
  await using sidecar = await startSidecarProcess({
    mesh: ca.mesh,
    app: app.port,
    identity: identity(ca),
    prepare: (dir) => writeFileSync(join(dir, 'token'), 'secret'),
  })
  const svid = await ca.mesh.issue('/ns/test/sa/caller')
  const before = await shown(sidecar.port, svid)
  assert.match(before!.answer, /^HTTP\/1\.1 200 /)
  // Nothing is given for a while, so that what it serves with after the stop can only be what it had.
  let allowed = false
  ca.answer = ({ path }) =>
    path === '/v1/x509-svid' && !allowed ? { status: 503, body: { code: 'ERR_CA_BUSY', detail: 'not now' } } : undefined
  sidecar.child.kill('SIGSTOP')
  await new Promise((resolve) => setTimeout(resolve, 5_000))
  // In its queue before it wakes.
  const early = Promise.all([1, 2, 3].map(() => shown(sidecar.port, svid)))
  sidecar.child.kill('SIGCONT')
  assert.deepEqual(await early, [undefined, undefined, undefined])
  assert.match((await ask(join(sidecar.dir, 'health.sock'), '/readyz?verbose')).text, /\[-\] identity failed: .*ERR_IDENTITY_ENDED/)
  const refused = await sidecar.record((record) => record['reason'] === 'ERR_IDENTITY_ENDED')
  assert.equal(refused['msg'], 'handshake')
  ca.tokens.set('secret', '/ns/test/sa/service')
  allowed = true
  await untilStatus(join(sidecar.dir, 'health.sock'), '/readyz', 200)
  const after = await shown(sidecar.port, svid)
  assert.match(after!.answer, /^HTTP\/1\.1 200 /)
  assert.ok(after!.end > Date.now())
})

test('calls of the app under a certificate that has ended are answered 503, and nobody is shown it', async (t) => {
  const mesh = await createTestMesh()
  let bytes = 0
  const server = createServer((socket) => {
    socket.on('data', (chunk) => (bytes += chunk.length))
    socket.on('error', () => {})
  })
  const port = await listenAnywhere(server)
  t.after(() => server.close())
  const clock = shiftedClock()
  await using sidecar = await runSidecar({ mesh, clock, outbound: outboundTo([port], '/ns/test/sa/other') })
  clock.shift(sidecar.source.current.identity.facts.notAfter + 1_000 - clock.now())
  const answer = await ask(sidecar.outboundPort, '/')
  assert.equal(answer.status, 503)
  const record = await sidecar.record((one) => one['path'] === '/')
  assert.equal(record['reason'], 'ERR_IDENTITY_ENDED')
  assert.equal(bytes, 0)
})
