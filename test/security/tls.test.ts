/** Handshakes, certificates and what comes before and beside them (docs/security-tests.md). */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { after, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { startRawApp } from '../fakes/apps.ts'
import { type CertificateFlaws, createTestMesh } from '../support/authority.ts'
import { der, oid, sequence } from '../support/der-writer.ts'
import { refusedHandshake } from '../support/handshakes.ts'
import { dial, readToEnd, sendRaw } from '../support/mtls-client.ts'
import { get, startProbe } from '../support/probe.ts'
import { createRandom } from '../support/random.ts'
import { runSidecar } from '../support/sidecar.ts'

const probe = await startProbe()
after(() => probe[Symbol.asyncDispose]())
const { sidecar } = probe
const { mesh } = sidecar

/** What is wrong with a caller's certificate → the reason on record. The app receives nothing. */
async function checkRefused(table: Readonly<Record<string, readonly [CertificateFlaws, string]>>): Promise<void> {
  for (const [what, [flaws, reason]] of Object.entries(table)) {
    const record = await refusedHandshake(sidecar, await mesh.issueFlawed(flaws))
    assert.equal(record['reason'], reason, what)
  }
  assert.equal((await probe.send(get('/'))).status, 200, 'others are served')
}

/** A SAN extension from its general names. */
function san(...names: readonly Buffer[]): x509.Extension {
  return new x509.Extension('2.5.29.17', false, sequence(...names))
}

const uri = (text: string): Buffer => der(0x86, text)
const CALLER = 'spiffe://example.org/ns/test/sa/caller'
const ADMIN = 'spiffe://example.org/ns/test/sa/admin'

test('47 · mutual TLS that fails open', async () => {
  const svid = await mesh.issue('/ns/test/sa/service')
  for (const bundlePem of ['', 'not a bundle', svid.certificatePem, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
    await assert.rejects(
      runSidecar({ mesh, svid: { ...svid, bundlePem } }),
      { code: 'ERR_CONFIG_INVALID' },
      JSON.stringify(bundlePem.slice(0, 40)),
    )
  }
  const stranger = await (await createTestMesh()).issue('/ns/test/sa/caller')
  await using running = await startProbe({ mesh })
  for (const bundle of ['', 'not a bundle']) {
    running.sidecar.write('bundle.pem', bundle)
    await running.sidecar.source.reload()
    assert.equal(running.sidecar.source.lastReload.successful, false, bundle)
    assert.equal((await running.send(get('/'))).status, 200, 'the last good bundle is in force')
    assert.equal((await refusedHandshake(running.sidecar, stranger))['reason'], 'ERR_SVID_ISSUER_UNKNOWN')
    assert.equal((await refusedHandshake(running.sidecar, undefined))['reason'], 'ERR_TLS_NO_CERTIFICATE')
  }
})

test('48 · resumption that skips validation', async () => {
  const other = await createTestMesh()
  await using running = await startProbe({ mesh: other })
  const svid = await other.issue('/ns/test/sa/caller')
  const sessions: Buffer[] = []
  const first = await dial(running.sidecar.port, svid)
  first.on('session', (session) => sessions.push(session))
  const answer = readToEnd(first)
  first.write(get('/'))
  assert.match(await answer, /^HTTP\/1\.1 200 /)
  for (const session of sessions) {
    const again = await dial(running.sidecar.port, svid, { session })
    assert.equal(again.isSessionReused(), false)
    again.destroy()
  }
  // The root under which the session was made goes: own identity and bundle are now of a new authority of the same domain.
  const next = await createTestMesh()
  const own = await next.issue('/ns/test/sa/service')
  running.sidecar.write('bundle.pem', own.bundlePem)
  running.sidecar.write('key.pem', own.keyPem)
  running.sidecar.write('svid.pem', own.certificatePem)
  await running.sidecar.source.reload()
  assert.equal(running.sidecar.source.lastReload.successful, true)
  for (const session of [undefined, ...sessions]) {
    const record = await refusedHandshake(running.sidecar, svid, session === undefined ? {} : { session })
    assert.equal(record['reason'], 'ERR_SVID_ISSUER_UNKNOWN')
  }
})

test('50 · a NUL in a name', async () => {
  await checkRefused({
    'in the URI': [{ san: san(uri(`${CALLER}\0.evil.example`)) }, 'ERR_SVID_SAN_MALFORMED'],
    'at its end': [{ san: san(uri(`${CALLER}\0`)) }, 'ERR_SVID_SAN_MALFORMED'],
    'in a DNS name beside it': [{ san: san(uri(CALLER), der(0x82, 'a\0b')) }, 'ERR_SVID_SAN_MALFORMED'],
    'a line end': [{ san: san(uri(`${CALLER}\n`)) }, 'ERR_SVID_SAN_MALFORMED'],
    'in an other name, and no URI': [
      { san: san(der(0xa0, oid('1.3.6.1.4.1.311.20.2.3'), der(0xa0, der(0x0c, `${ADMIN}\0`)))) },
      'ERR_SVID_NO_ID',
    ],
  })
  const other = san(uri(CALLER), der(0xa0, oid('1.3.6.1.4.1.311.20.2.3'), der(0xa0, der(0x0c, `${ADMIN}\0`))))
  const seen = await probe.send(get('/'), await mesh.issueFlawed({ san: other }))
  assert.match(seen.app, new RegExp(`\\r\\nx-postern-principal: ${CALLER}\\r\\n`), 'other names say nothing')
})

test('51 · names injected into a printed list of names', async () => {
  for (const injected of [`x, URI:${ADMIN}`, `x",URI:"${ADMIN}`, `URI:${ADMIN}`, `x\\, URI:${ADMIN}`]) {
    const seen = await probe.send(get('/'), await mesh.issueFlawed({ san: san(der(0x82, injected), uri(CALLER)) }))
    assert.match(seen.app, new RegExp(`\\r\\nx-postern-principal: ${CALLER}\\r\\n`), injected)
    assert.doesNotMatch(seen.app, /sa\/admin/, injected)
  }
  await checkRefused({
    'in a DNS name alone': [{ san: san(der(0x82, `x, URI:${ADMIN}`)) }, 'ERR_SVID_NO_ID'],
    'in an e-mail address alone': [{ san: san(der(0x81, `a@b, URI:${ADMIN}`)) }, 'ERR_SVID_NO_ID'],
    'in the URI': [{ san: san(uri(`${CALLER}, URI:${ADMIN}`)) }, 'ERR_SPIFFE_ID_MALFORMED'],
    'in the common name': [{ san: null, subject: [['CN', `x, URI:${ADMIN}`]] }, 'ERR_SVID_NO_ID'],
    'a second URI': [{ uris: [CALLER, ADMIN] }, 'ERR_SVID_SEVERAL_IDS'],
  })
})

test('52 · wildcards, case and zones in identities, and name constraints', () =>
  checkRefused({
    'a wildcard in the path': [{ uris: ['spiffe://example.org/ns/*/sa/admin'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'a wildcard as the trust domain': [{ uris: ['spiffe://*/ns/test/sa/admin'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'a wildcard in the trust domain': [{ uris: ['spiffe://*.org/ns/test/sa/admin'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'a trust domain in upper case': [{ uris: ['spiffe://EXAMPLE.org/ns/test/sa/caller'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'a scheme in upper case': [{ uris: ['SPIFFE://example.org/ns/test/sa/caller'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'an IPv6 zone': [{ uris: ['spiffe://[fe80::1%25eth0]/ns/test/sa/caller'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'a port': [{ uris: ['spiffe://example.org:443/ns/test/sa/caller'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'an escape': [{ uris: ['spiffe://example.org/ns/test/sa/%63aller'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'dot segments': [{ uris: ['spiffe://example.org/ns/test/sa/../sa/caller'] }, 'ERR_SPIFFE_ID_MALFORMED'],
    'another trust domain': [{ uris: ['spiffe://example.com/ns/test/sa/caller'] }, 'ERR_SVID_TRUST_DOMAIN_UNKNOWN'],
    'name constraints': [
      { extraExtensions: [new x509.Extension('2.5.29.30', true, sequence(der(0xa0, sequence(uri('example.org')))))] },
      'ERR_SVID_CRITICAL_EXTENSION',
    ],
  }))

test('53 · an extended key usage that is ignored', () =>
  checkRefused({
    'of servers only': [{ extendedKeyUsage: [x509.ExtendedKeyUsage.serverAuth] }, 'ERR_SVID_EXTENDED_KEY_USAGE'],
    'of code signing': [{ extendedKeyUsage: [x509.ExtendedKeyUsage.codeSigning] }, 'ERR_SVID_EXTENDED_KEY_USAGE'],
    'of time stamping and e-mail': [
      { extendedKeyUsage: [x509.ExtendedKeyUsage.timeStamping, x509.ExtendedKeyUsage.emailProtection] },
      'ERR_SVID_EXTENDED_KEY_USAGE',
    ],
  }))

test('54 · certificates made to cost', async () => {
  await checkRefused({
    'a thousand names': [{ dnsNames: Array.from({ length: 1000 }, (_, index) => `name-${index}.example.org`) }, 'ERR_SVID_TOO_LARGE'],
    'one long name': [{ dnsNames: [`${'a'.repeat(17_000)}.example.org`] }, 'ERR_SVID_TOO_LARGE'],
    'one long extension': [{ extraExtensions: [new x509.Extension('1.2.3.4', false, Buffer.alloc(17_000))] }, 'ERR_SVID_TOO_LARGE'],
  })
  const svid = await mesh.issue('/ns/test/sa/caller')
  const long = { ...svid, certificatePem: svid.certificatePem + mesh.issuer.certificatePem.repeat(8) }
  assert.equal((await refusedHandshake(sidecar, long))['reason'], 'ERR_SVID_TOO_LARGE')
  const endless = { ...svid, certificatePem: svid.certificatePem + mesh.issuer.certificatePem.repeat(200) }
  assert.match(
    String((await refusedHandshake(sidecar, endless))['reason']),
    /^ERR_(?:TLS_HANDSHAKE|SVID_TOO_LARGE)$/,
    'OpenSSL has a bound of its own',
  )
})

/** The first flight of an ordinary caller, as bytes. */
async function clientHello(servername: string): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connectTls({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', servername, ALPNProtocols: ['http/1.1'] })
  client.on('error', () => {})
  const [socket] = (await once(server, 'connection')) as [ReturnType<typeof connect>]
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  client.destroy()
  server.close()
  return bytes
}

/** Sends bytes to the TLS port, ends, and waits for the end; what came back, if anything, is TLS. */
async function sendPlain(bytes: Buffer | string): Promise<Buffer> {
  const socket = connect({ port: sidecar.port, host: '127.0.0.1', allowHalfOpen: true })
  const chunks: Buffer[] = []
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  const closed = once(socket, 'close')
  socket.end(bytes, 'latin1' as never)
  await closed
  return Buffer.concat(chunks)
}

test('55 · an exception in a TLS callback, by odd SNI, ALPN and mutated hellos', async (t) => {
  const random = createRandom(t)
  const name = 'name-of-the-server.example'
  const hello = await clientHello(name)
  const at = hello.indexOf(name)
  assert.ok(at > 0)
  const before = (await sidecar.records()).length
  let sent = 0
  const texts = ['\0', '\xff', '\r\n', '../', '\xc3', '%00', '*', ' '].map((text) => text.repeat(name.length).slice(0, name.length))
  for (const text of texts) {
    const odd = Buffer.from(hello)
    odd.write(text, at, 'latin1')
    await sendPlain(odd)
    sent++
  }
  for (let round = 0; round < 200; round++) {
    const mutated = Buffer.from(hello)
    for (let count = 1 + Math.floor(random() * 8); count > 0; count--)
      mutated[5 + Math.floor(random() * (mutated.length - 5))] = Math.floor(random() * 256)
    await sendPlain(random() < 0.2 ? mutated.subarray(0, Math.floor(random() * mutated.length)) : mutated)
    sent++
  }
  for (const ALPNProtocols of [['h2'], ['\xff'], ['a'.repeat(255)], ['http/1.0', 'spdy/3']]) {
    await assert.rejects(dial(sidecar.port, probe.svid, { ALPNProtocols }))
    sent++
  }
  const records = (await sidecar.records()).slice(before)
  assert.equal(records.length, sent, 'each is on record')
  assert.ok(records.every(({ msg, reason }) => msg === 'handshake' && String(reason).startsWith('ERR_TLS_')))
  assert.equal((await probe.send(get('/'))).status, 200)
})

test('56 · a handshake that is accepted although the verdict is no', async () => {
  const stranger = await createTestMesh()
  for (const protocol of ['http1', 'both', 'tcp']) {
    // A server that speaks first would show that it was reached.
    await using app = await startRawApp(
      () => {},
      (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
    )
    await using running = await runSidecar({ mesh, app: app.port, inbound: `      protocol: ${protocol}\n` })
    for (const svid of [undefined, await stranger.issue('/ns/test/sa/caller'), await mesh.issueFlawed({ notAfter: Date.now() - 1000 })]) {
      // The request leaves together with the caller's last flight, before anybody can have said no.
      const socket = connectTls({
        port: running.port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ...(svid === undefined ? {} : { cert: svid.certificatePem, key: svid.keyPem }),
      })
      socket.on('error', () => {})
      const end = readToEnd(socket)
      for (let count = 0; count < 10; count++) socket.write('GET /early HTTP/1.1\r\nhost: h\r\n\r\n')
      assert.equal(await end, '', protocol)
    }
    assert.deepEqual(
      (await running.records()).map(({ msg, reason }) => [msg, reason]),
      [
        ['handshake', 'ERR_TLS_NO_CERTIFICATE'],
        ['handshake', 'ERR_SVID_ISSUER_UNKNOWN'],
        ['handshake', 'ERR_SVID_EXPIRED'],
      ],
      protocol,
    )
    assert.equal(app.connections.length, 0, protocol)
  }
})

test('57 · plain text before and inside TLS', async () => {
  const hello = await clientHello('h')
  const request = Buffer.from('GET /plain HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  const record = Buffer.concat([Buffer.of(0x17, 0x03, 0x03, 0, request.length), request])
  const inputs = [
    request,
    Buffer.concat([request, hello]),
    Buffer.concat([hello, request]),
    Buffer.concat([hello, record]),
    Buffer.from('\r\n'),
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  ]
  for (const bytes of inputs) {
    const before = (await sidecar.records()).length
    const answer = await sendPlain(bytes)
    assert.doesNotMatch(answer.toString('latin1'), /HTTP\//, 'no answer in plain text')
    const records = (await sidecar.records()).slice(before)
    assert.deepEqual(
      records.map(({ msg, reason }) => [msg, reason]),
      [['handshake', 'ERR_TLS_HANDSHAKE']],
    )
  }
  assert.doesNotMatch((await probe.send(get('/'))).app, /plain/)
})

test('59 · forged addresses, in a PROXY protocol header', async () => {
  const v1 = Buffer.from('PROXY TCP4 10.1.1.1 10.2.2.2 1000 443\r\n')
  const v2 = Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540a2111000c', 'hex'), Buffer.of(10, 1, 1, 1, 10, 2, 2, 2, 3, 232, 1, 187)])
  for (const header of [v1, v2]) {
    const before = (await sidecar.records()).length
    await sendPlain(Buffer.concat([header, await clientHello('h')]))
    const records = (await sidecar.records()).slice(before)
    assert.deepEqual(
      records.map((record) => [record['reason'], record['source_ip']]),
      [['ERR_TLS_HANDSHAKE', '127.0.0.1']],
    )
  }
  for (const header of [v1, v2]) {
    const answer = await sendRaw(sidecar.port, probe.svid, Buffer.concat([header, Buffer.from(get('/inside'))]))
    assert.match(answer, /^HTTP\/1\.1 400 /, 'nor is one inside TLS')
  }
})
