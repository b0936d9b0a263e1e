import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TLSSocket } from 'node:tls'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { createTestMesh } from '../support/authority.ts'
import { call, createMtlsAgent, dial, readToEnd, readUntil } from '../support/mtls-client.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

async function applied(sidecar: RunningSidecar, change: () => void): Promise<void> {
  const done = new Promise<void>((resolve) => {
    const unsubscribe = sidecar.source.subscribe(() => {
      unsubscribe()
      resolve()
    })
  })
  change()
  await done
}

/** True if the handshake fails, or the connection is ended before it can carry a request. */
async function isRefused(port: number, options: Parameters<typeof dial>[2], svid: Parameters<typeof dial>[1]): Promise<boolean> {
  let socket: TLSSocket
  try {
    socket = await dial(port, svid, options)
  } catch {
    return true
  }
  const answer = readToEnd(socket)
  socket.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  return (await answer) === ''
}

test('after a reload of SVID and bundle: a live request goes on, TLS 1.2 stays refused and no session is resumed', async () => {
  const mesh = await createTestMesh()
  const next = await createTestMesh()
  let finish = (): void => {}
  await using app = await startApp((request, response) => {
    if (request.url !== '/slow') {
      response.end('ok')
      return
    }
    response.write('begun ')
    finish = () => void response.end('and ended')
  })
  await using sidecar = await runSidecar({ mesh, app: app.port })
  const svid = await mesh.issue('/ns/test/sa/caller')
  const live = await dial(sidecar.port, svid)
  live.write('GET /slow HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  await readUntil(live, 'begun')

  await applied(sidecar, () => sidecar.write('bundle.pem', mesh.bundlePem + next.bundlePem))
  const own = await next.issue('/ns/test/sa/service')
  await applied(sidecar, () => {
    sidecar.write('key.pem', own.keyPem)
    sidecar.write('svid.pem', own.certificatePem)
  })

  const rest = readToEnd(live)
  finish()
  assert.match(await rest, /and ended/)

  const withBoth = { ...svid, bundlePem: mesh.bundlePem + next.bundlePem }
  assert.equal(await isRefused(sidecar.port, { maxVersion: 'TLSv1.2' }, withBoth), true)
  const sessions: Buffer[] = []
  const first = await dial(sidecar.port, withBoth)
  first.on('session', (session) => sessions.push(session))
  const serial = first.getPeerX509Certificate()?.serialNumber.toLowerCase().replace(/^0+/, '')
  const answer = readToEnd(first)
  first.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  assert.match(await answer, /^HTTP\/1\.1 200 /)
  assert.equal(serial, sidecar.source.current.identity.facts.serial, 'new connections see the new certificate')
  for (const session of sessions) {
    const again = await dial(sidecar.port, withBoth, { session })
    assert.equal(again.isSessionReused(), false)
    again.destroy()
  }
})

test('a root that is removed cuts who chained to it, and nobody else', async () => {
  const mesh = await createTestMesh()
  const other = await createTestMesh()
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  })
  await using sidecar = await runSidecar({ mesh, app: app.port })
  await applied(sidecar, () => sidecar.write('bundle.pem', mesh.bundlePem + other.bundlePem))
  const kept = await dial(sidecar.port, await mesh.issue('/ns/test/sa/kept'))
  const gone = await dial(sidecar.port, await other.issue('/ns/test/sa/gone'))
  for (const socket of [kept, gone]) {
    socket.write('GET /stream HTTP/1.1\r\nhost: h\r\n\r\n')
    await readUntil(socket, 'first')
  }
  const cut = readToEnd(gone)
  await applied(sidecar, () => sidecar.write('bundle.pem', mesh.bundlePem))
  await cut
  const record = await sidecar.record((entry) => entry['reason'] === 'ERR_TRUST_WITHDRAWN')
  assert.match(JSON.stringify(record['peer']), /sa\/gone/)
  assert.equal(kept.destroyed, false)
  kept.destroy()
})

test('a half-written pair and a broken bundle change nothing, and show', async () => {
  await using app = await startApp()
  await using sidecar = await runSidecar({ app: app.port })
  using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
  const { generation } = sidecar.source.current
  sidecar.write('bundle.pem', 'not a bundle')
  sidecar.write('key.pem', (await sidecar.mesh.issue('/ns/test/sa/service')).keyPem)
  sidecar.write('policy.yaml', '- allow: { and: [http_pth: /x] }\n')
  await sidecar.source.reload()
  assert.equal(sidecar.source.current.generation, generation)
  const faults = sidecar.source.status().filter((input) => input.error !== undefined)
  assert.equal(faults.length, 3, JSON.stringify(faults))
  assert.match(JSON.stringify(faults), /Did you mean `http_path`/)
  assert.equal((await call(sidecar.port, agent, '/')).status, 200)
})

test('a connection ends with the certificate it was admitted under, and asks for another one before', async () => {
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const socket = await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/brief', { ttl: 3000 }))
  socket.write('GET /stream HTTP/1.1\r\nhost: h\r\n\r\n')
  await readUntil(socket, 'first')
  await readToEnd(socket)
  const record = await sidecar.record((entry) => entry['path'] === '/stream')
  assert.equal(record['reason'], 'ERR_CERTIFICATE_ENDED')
})
