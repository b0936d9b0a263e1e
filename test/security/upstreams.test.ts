/** Upgrades, answers out of turn, and connections that belong to someone else (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { request } from 'node:http'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { call, createMtlsAgent, sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const KEY = 'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const HIDDEN = 'GET /hidden HTTP/1.1\r\nhost: h\r\n\r\n'

test('19 · bytes behind an Upgrade or CONNECT that was not answered yet', async () => {
  await using app = await startRawApp((socket, text) => {
    if (!text.endsWith('\r\n\r\n')) return
    const switches = /\r\nupgrade: websocket\r\n/.test(text) && !text.includes('/plain')
    socket.write(
      switches
        ? 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'
        : 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
    )
  })
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const table: readonly (readonly [string, number, string | undefined])[] = [
    [`GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n${KEY}\r\n${HIDDEN}`, 400, 'ERR_UPGRADE_EARLY_DATA'],
    [`CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n${HIDDEN}`, 501, 'ERR_HTTP_METHOD'],
    [`CONNECT /ws HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\n\r\n${HIDDEN}`, 501, 'ERR_HTTP_METHOD'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, 'ERR_HTTP_VERSION'],
    // Not an upgrade to us, nor to the app: an ordinary request whose connection ends.
    [
      `GET /h2c HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n${HIDDEN}`,
      200,
      undefined,
    ],
    [`POST /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n${KEY}\r\n${HIDDEN}`, 200, undefined],
    [`GET /ws HTTP/1.1\r\nhost: h\r\nconnection: close\r\nupgrade: websocket\r\n${KEY}\r\n${HIDDEN}`, 200, undefined],
    [`GET /ws HTTP/1.0\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n${KEY}\r\n${HIDDEN}`, 200, undefined],
    [`GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket, h2c\r\n${KEY}\r\n${HIDDEN}`, 200, undefined],
    [
      `GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n${HIDDEN}`,
      200,
      undefined,
    ],
  ]
  for (const [bytes, status, reason] of table) {
    const before = (await sidecar.records()).length
    const connections = app.connections.length
    const answer = await sendRaw(sidecar.port, svid, bytes)
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), bytes)
    const records = (await sidecar.records()).slice(before)
    assert.deepEqual(
      records.map((record) => record['reason']),
      [reason],
      bytes,
    )
    const received = app.connections
      .slice(connections)
      .map(({ text }) => text)
      .join('')
    assert.doesNotMatch(received, /hidden|h2c\r\n|http2-settings/i, bytes)
    if (status === 200) assert.doesNotMatch(received, /\r\nupgrade:/i, bytes)
  }
  using agent = createMtlsAgent(svid)
  const refused = await call(sidecar.port, agent, '/plain', {
    headers: {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'sec-websocket-version': '13',
    },
  })
  assert.equal(refused.status, 200, 'an app may decline')
})

test('20 · answers nobody asked for yet, and answers before the request is complete', async () => {
  const sockets: Socket[] = []
  let talksFirst = true
  let answers = 0
  await using app = await startRawApp(
    (socket, text) => {
      if (text.includes('/early')) {
        if (text.includes('start')) socket.write('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n')
        return
      }
      if (!text.endsWith('\r\n\r\n')) return
      answers++
      socket.write(
        `HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${answers}${answers === 2 ? 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison' : ''}`,
      )
    },
    (socket) => {
      sockets.push(socket)
      if (talksFirst) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison')
    },
  )
  await using sidecar = await runSidecar({ app: app.port })
  const a = await sidecar.mesh.issue('/ns/test/sa/a')
  const b = await sidecar.mesh.issue('/ns/test/sa/b')
  using agentA = createMtlsAgent(a, { maxSockets: 1 })
  using agentB = createMtlsAgent(b, { maxSockets: 1 })

  // An app that talks first answers its own caller wrongly at most: what it says on one caller's connection reaches no other.
  await call(sidecar.port, agentA, '/first')
  talksFirst = false
  answers = 0
  assert.equal((await call(sidecar.port, agentB, '/')).body, '1')
  assert.equal((await call(sidecar.port, agentB, '/')).body, '2', 'a second answer came with this one')
  assert.equal((await call(sidecar.port, agentB, '/')).body, '3', 'and is nobody’s')

  const idle = sockets.at(-1)
  assert.ok(idle)
  const gone = new Promise((resolve) => void idle.once('close', resolve))
  idle.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison')
  await gone
  assert.equal((await call(sidecar.port, agentB, '/')).body, '4', 'nor is one that came while no request was out')

  const early = await sendRaw(sidecar.port, a, `POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nstart${HIDDEN}`)
  assert.match(early, /^HTTP\/1\.1 401 [^]*\r\nconnection: close\r\n/)
  assert.equal(early.split('HTTP/1.1 ').length, 2, 'the rest of the upload is no request')
  const { text } = app.connections.at(-1) ?? { text: '' }
  assert.match(text, /^POST \/early /)
  assert.equal((await sidecar.record((record) => record['path'] === '/early'))['status'], 401)
})

test('49 · a pool that uses another identity’s connection', async () => {
  const mesh = await createTestMesh()
  await using app = await startApp((_request, response) => response.end('ok'))
  await using server = await runSidecar({ mesh, app: app.port, path: '/ns/shop/sa/catalog' })
  await using client = await runSidecar({
    mesh,
    path: '/ns/shop/sa/cart',
    outbound: `    - listen: 127.0.0.1:0\n      to: 127.0.0.1:${server.port}\n      peer: spiffe://example.org/ns/shop/sa/catalog\n`,
  })
  const serialSeen = async (): Promise<unknown> => {
    const before = (await server.records()).length
    await new Promise<void>((resolve, reject) => {
      const outgoing = request({ host: '127.0.0.1', port: client.outboundPort }, (response) => void response.resume().on('end', resolve))
      outgoing.on('error', reject)
      outgoing.end()
    })
    return ((await server.records())[before]?.['peer'] as { readonly serial: string } | undefined)?.serial
  }
  const first = await mesh.issue('/ns/shop/sa/cart')
  const second = await mesh.issue('/ns/shop/sa/cart')
  const serials: unknown[] = [await serialSeen(), await serialSeen()]
  for (const svid of [first, second]) {
    const swapped = new Promise<void>((resolve) => {
      const unsubscribe = client.source.subscribe(() => {
        unsubscribe()
        resolve()
      })
    })
    client.write('key.pem', svid.keyPem)
    client.write('svid.pem', svid.certificatePem)
    await swapped
    serials.push(await serialSeen(), await serialSeen())
  }
  assert.deepEqual(
    serials.map((serial, index) => serial === serials[index - (index % 2)]),
    serials.map(() => true),
    'used again under the same SVID',
  )
  assert.equal(new Set(serials).size, 3, 'and never under another')
})
