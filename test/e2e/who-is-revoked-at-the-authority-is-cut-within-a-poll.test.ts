/** `postern ca revoke` reaches live connections of the revoked peer, and nobody else's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startRawApp } from '../fakes/apps.ts'
import { startCaProcess } from '../support/ca-process.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { runSidecar } from '../support/sidecar.ts'
import { connect, type Socket } from 'node:net'
import { readToEnd, readUntil } from '../support/mtls-client.ts'

const POLL = 300

/** A response that never ends, through the sidecar of the caller. */
async function stream(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET /stream HTTP/1.1\r\nhost: h\r\n\r\n')
  await readUntil(socket, 'first')
  return socket
}

test('a revoked id: its running stream ends within the interval of a poll, it is let in no more, and others go on', async (t) => {
  await using app = await startRawApp((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  })
  await using ca = await startCaProcess({ poll: `${POLL}ms` })
  await using called = await runSidecar({ app: app.port, identity: await ca.identityFor('/ns/test/sa/service') })
  const outbound = outboundTo([called.port], '/ns/test/sa/service')
  await using thief = await runSidecar({ identity: await ca.identityFor('/ns/test/sa/thief'), outbound })
  await using other = await runSidecar({ identity: await ca.identityFor('/ns/test/sa/other'), outbound })
  const kept = await stream(other.outboundPort)
  const gone = await stream(thief.outboundPort)
  const ended = readToEnd(gone)
  const begun = Date.now()
  const run = await ca.ca('revoke', '--config', 'ca/ca.yaml', '--id', 'spiffe://example.org/ns/test/sa/thief', '--reason', 'stolen')
  assert.equal(run.status, 0, run.stderr)
  const revoked = Date.now()
  await ended
  t.diagnostic(
    `cut ${Date.now() - revoked} ms after the command, ${Date.now() - begun} ms after it was begun; polls every ${POLL} ms, the store is read every second`,
  )
  const record = await called.record((entry) => entry['path'] === '/stream' && JSON.stringify(entry['peer']).includes('sa/thief'))
  assert.equal(record['reason'], 'ERR_SVID_REVOKED')
  assert.equal(kept.destroyed, false)
  const again = connect(thief.outboundPort, '127.0.0.1')
  const answer = readToEnd(again)
  again.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  assert.match(await answer, /^HTTP\/1\.1 502 /)
  const refused = await called.record((entry) => entry['msg'] === 'handshake')
  assert.equal(refused['reason'], 'ERR_SVID_REVOKED')
  kept.destroy()
})
