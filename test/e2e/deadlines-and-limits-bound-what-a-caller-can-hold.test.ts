import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { dial, readToEnd, readUntil, sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

test('a head that is begun and not ended is refused in time, a silent connection is closed, a stalled body is refused', async () => {
  await using app = await startRawApp(() => {})
  await using sidecar = await runSidecar({ app: app.port, inbound: '      timeouts: { head: 1s, idle: 1s }\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const [slow, silent, stalled] = await Promise.all([dial(sidecar.port, svid), dial(sidecar.port, svid), dial(sidecar.port, svid)])
  slow.write('GET / HTTP/1.1\r\nho')
  stalled.write('POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf')
  const answers = await Promise.all([slow, silent, stalled].map(readToEnd))
  assert.match(answers[0] ?? '', /^HTTP\/1\.1 408 /)
  assert.equal(answers[1], '')
  assert.match(answers[2] ?? '', /^HTTP\/1\.1 408 /)
  assert.ok((await sidecar.records()).some((record) => record['reason'] === 'ERR_HEAD_TIMEOUT'))
  assert.ok((await sidecar.records()).some((record) => record['reason'] === 'ERR_BODY_TIMEOUT'))
})

test('who connects and never shakes hands is closed in time, recorded, and does not hold up others', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, inbound: '      timeouts: { handshake: 1s }\n' })
  const mute = connect(sidecar.port, '127.0.0.1')
  mute.on('error', () => {})
  const closed = new Promise((resolve) => void mute.once('close', resolve))
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  assert.match(await sendRaw(sidecar.port, svid, 'GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /)
  mute.resume()
  await closed
  const record = await sidecar.record((entry) => entry['msg'] === 'handshake')
  assert.equal(record['reason'], 'ERR_TLS_HANDSHAKE_TIMEOUT')
})

test('plain HTTP on the TLS port is refused and recorded', async () => {
  await using sidecar = await runSidecar({})
  const plain = connect(sidecar.port, '127.0.0.1')
  plain.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n')
  plain.resume()
  plain.on('error', () => {})
  await new Promise((resolve) => void plain.once('close', resolve))
  assert.equal((await sidecar.record((entry) => entry['msg'] === 'handshake'))['reason'], 'ERR_TLS_HANDSHAKE')
})

test('heads too long, too many headers and targets too long have their own status', async () => {
  await using sidecar = await runSidecar({ inbound: '      limits: { headBytes: 8KiB, headers: 20 }\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const table: readonly (readonly [string, number])[] = [
    [`GET / HTTP/1.1\r\nhost: h\r\na: ${'x'.repeat(9000)}\r\n\r\n`, 431],
    [`GET / HTTP/1.1\r\nhost: h\r\n${'a: b\r\n'.repeat(25)}\r\n`, 431],
    [`GET /${'x'.repeat(9000)} HTTP/1.1\r\nhost: h\r\n\r\n`, 414],
  ]
  for (const [bytes, status] of table) assert.match(await sendRaw(sidecar.port, svid, bytes), new RegExp(`^HTTP/1\\.1 ${status} `))
})

test('connections beyond the limit are closed, and there is room again when others have left', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port, inbound: '      limits: { connections: 3 }\n' })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const held = await Promise.all([dial(sidecar.port, svid), dial(sidecar.port, svid), dial(sidecar.port, svid)])
  for (const socket of held) {
    socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n')
    await readUntil(socket, '\r\n\r\nok')
  }
  await assert.rejects(dial(sidecar.port, svid))
  await sidecar.record((entry) => entry['reason'] === 'ERR_LIMIT_CONNECTIONS')
  const left = new Promise((resolve) => void held[0]?.once('close', resolve))
  held[0]?.end()
  await left
  assert.match(await sendRaw(sidecar.port, svid, 'GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /)
  for (const socket of held) socket.destroy()
})
