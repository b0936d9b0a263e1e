import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { call, createMtlsAgent, dial } from '../support/mtls-client.ts'
import { createRandom } from '../support/random.ts'
import { runSidecar } from '../support/sidecar.ts'

/** `POSTERN_ABORTS=100000` is the full run; the suite's is short because every abort costs a connection. */
const ABORTS = Number(process.env['POSTERN_ABORTS'] ?? 4000)

/** Answers with the path it was asked for, many times over: a byte of another's answer shows. */
const BODY_TIMES = 400

test(`${ABORTS} random aborts of caller A on the app's side, where connections are pooled: B never receives a byte of A's`, async (t) => {
  const random = createRandom(t)
  const mesh = await createTestMesh()
  await using app = await startApp((request, response) => void response.end(`${request.url}|`.repeat(BODY_TIMES)))
  await using server = await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/catalog' })
  await using client = await runSidecar({
    mesh,
    outbound: `    - listen: 127.0.0.1:0\n      to: 127.0.0.1:${server.port}\n      peer: spiffe://example.org/ns/shop/sa/catalog\n`,
  })
  let aborted = 0

  function abortOnce(): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect(client.outboundPort, '127.0.0.1')
      socket.on('error', () => {})
      socket.once('close', () => resolve())
      const request = `POST /a-${aborted++} HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello`
      socket.write(request.slice(0, Math.floor(random() * request.length) + 1), () => {
        const turns = Math.floor(random() * 6)
        const wait = (left: number): void =>
          void (left === 0 ? (random() < 0.5 ? socket.resetAndDestroy() : socket.destroy()) : setImmediate(wait, left - 1))
        wait(turns)
      })
    })
  }

  function readWhole(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(client.outboundPort, '127.0.0.1')
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
      })
      socket.on('error', reject)
      socket.on('close', () => resolve(text))
      socket.write(`GET ${path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n`)
    })
  }

  let answered = 0
  async function callerA(): Promise<void> {
    while (aborted < ABORTS) {
      await abortOnce()
      // Not faster than connections are accepted: else B waits in the kernel's backlog behind thousands of A's, and sees little.
      while (aborted > 40 * (answered + 1)) await new Promise((resolve) => void setImmediate(resolve))
    }
  }
  async function callerB(): Promise<void> {
    while (aborted < ABORTS) {
      const path = `/b-${answered++}`
      const text = await readWhole(path)
      assert.ok(text.startsWith('HTTP/1.1 200 OK\r\n'), text.slice(0, 300))
      assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), `${path}|`.repeat(BODY_TIMES))
    }
  }
  await Promise.all([callerA(), callerA(), callerA(), callerA(), callerB(), callerB()])
  t.diagnostic(`${aborted} aborts, ${answered} whole answers to B`)
  assert.ok(answered > ABORTS / 100)
})

test(`random aborts of caller A over mutual TLS: B never receives a byte of A's`, async (t) => {
  const random = createRandom(t)
  const mesh = await createTestMesh()
  await using app = await startApp(
    (request, response) => void response.end(`${request.headers['x-postern-principal'] as string}${request.url}|`.repeat(BODY_TIMES)),
  )
  await using sidecar = await runSidecar({ mesh, app: app.port })
  const a = await mesh.issue('/ns/test/sa/a')
  const b = await mesh.issue('/ns/test/sa/b')
  using agent = createMtlsAgent(b, { maxSockets: 2 })
  const total = Math.ceil(ABORTS / 20)
  let aborted = 0
  let answered = 0
  async function callerA(): Promise<void> {
    while (aborted < total) {
      aborted++
      const socket = await dial(sidecar.port, a)
      const closed = new Promise((resolve) => void socket.once('close', resolve))
      for (let count = Math.floor(random() * 4); count >= 0; count--) socket.write(`GET /a-${aborted} HTTP/1.1\r\nhost: h\r\n\r\n`)
      if (random() < 0.5) await new Promise((resolve) => void socket.once('data', resolve))
      socket.destroy()
      await closed
    }
  }
  async function callerB(): Promise<void> {
    while (aborted < total) {
      const path = `/b-${answered++}`
      const { body } = await call(sidecar.port, agent, path)
      assert.equal(body, `spiffe://example.org/ns/test/sa/b${path}|`.repeat(BODY_TIMES))
    }
  }
  await Promise.all([callerA(), callerA(), callerB(), callerB()])
  t.diagnostic(`${aborted} aborts, ${answered} whole answers to B`)
})
