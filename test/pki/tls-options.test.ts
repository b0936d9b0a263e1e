/** TLS as listeners and callers have it, at start and after reloads, tried with node's and with OpenSSL's own clients. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import * as tls from 'node:tls'
import { PosternError } from '#base/errors'
import { clientTlsOptions, DEFAULT_GROUPS, reloadServerContext, serverTlsOptions, type TlsChoices } from '#pki/tls-options'
import { createTestMesh, writeSvid } from '../support/authority.ts'
import { listenTls, type TlsListener } from '../support/tls-pair.ts'
import { identityOf, trustIn } from '../support/trust.ts'

const mesh = await createTestMesh()
const trust = trustIn([mesh])
const svid = await mesh.issue('/client')
const identity = identityOf(await mesh.issue('/server'))
const renewed = identityOf(await mesh.issue('/server'))
const client: tls.ConnectionOptions = { key: svid.keyPem, cert: svid.certificatePem, ca: svid.bundlePem, rejectUnauthorized: false }

/** The listener as it starts, and as it is after each of two reloads. */
async function atStartAndAfterReloads(choices: TlsChoices, check: (listener: TlsListener, when: string) => Promise<void>): Promise<void> {
  await using listener = await listenTls(serverTlsOptions(identity, trust, choices))
  await check(listener, 'at start')
  for (const [index, next] of [renewed, identity].entries()) {
    reloadServerContext(listener.server, serverTlsOptions(next, trust, choices))
    await check(listener, `after reload ${index + 1}`)
  }
}

test('TLS 1.2 and older are refused, at start and after reloads', async () => {
  await atStartAndAfterReloads({}, async (listener, when) => {
    const modern = await listener.connect(client)
    assert.equal(modern.server?.getProtocol(), 'TLSv1.3', when)
    const old = await listener.connect({ ...client, maxVersion: 'TLSv1.2' })
    assert.equal(old.server, undefined, when)
    assert.match(String(old.error), /protocol version|unsupported protocol/i)
  })
})

test('by choice TLS 1.2 is served with AEAD suites alone, at start and after reloads', async () => {
  await atStartAndAfterReloads({ minVersion: 'TLSv1.2' }, async (listener, when) => {
    for (const ciphers of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305']) {
      const pair = await listener.connect({ ...client, maxVersion: 'TLSv1.2', ciphers })
      assert.equal(pair.server?.getProtocol(), 'TLSv1.2', `${when} ${String(pair.error)}`)
    }
    for (const ciphers of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES256-SHA', 'AES128-GCM-SHA256']) {
      const pair = await listener.connect({ ...client, maxVersion: 'TLSv1.2', ciphers })
      assert.equal(pair.server, undefined, `${when}: ${ciphers}`)
    }
    for (const maxVersion of ['TLSv1.1', 'TLSv1'] as const) {
      const pair = await listener.connect({ ...client, minVersion: 'TLSv1', maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' })
      assert.equal(pair.server, undefined, `${when}: ${maxVersion}`)
    }
  })
})

test('no session is resumed, in either version, at start and after reloads', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    await atStartAndAfterReloads({ minVersion: 'TLSv1.2' }, async (listener, when) => {
      const first = await listener.connect({ ...client, maxVersion })
      let ticket: Buffer | undefined
      first.client.on('session', (session: Buffer) => {
        ticket = session
      })
      // In TLS 1.3 OpenSSL sends references to sessions even so; they come before the first data, and no server here keeps any.
      first.server?.write('x')
      await once(first.client, 'data')
      const session = ticket ?? first.client.getSession()
      const second = await listener.connect({ ...client, maxVersion, ...(session === undefined ? {} : { session }) })
      assert.equal(second.server?.isSessionReused(), false, `${maxVersion} ${when}`)
    })
  }
})

test('what is kept from the careless reload that node offers: it brings back TLS 1.2 and tickets', async () => {
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  listener.server.setSecureContext({ key: renewed.keyPem, cert: renewed.certificatePem, ca: svid.bundlePem })
  const old = await listener.connect({ ...client, maxVersion: 'TLSv1.2' })
  assert.equal(old.server?.getProtocol(), 'TLSv1.2')
  const modern = await listener.connect(client)
  const ticket = once(modern.client, 'session')
  modern.server?.write('x')
  assert.ok((await ticket)[0] instanceof Buffer)
})

test('a reload shows the new certificate to new connections, and connections that stand go on', async () => {
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  const before = await listener.connect(client)
  reloadServerContext(listener.server, serverTlsOptions(renewed, trust))
  const after = await listener.connect(client)
  const serials = [before, after].map((pair) => pair.client.getPeerX509Certificate()?.serialNumber.toLowerCase())
  assert.deepEqual(serials, [identity.facts.serial, renewed.facts.serial])
  before.server?.write('still here')
  assert.equal(String((await once(before.client, 'data'))[0]), 'still here')
})

test('the key exchange is post-quantum with who knows it, X25519 and P-256 with who does not, and nothing else', async () => {
  assert.deepEqual(DEFAULT_GROUPS, ['X25519MLKEM768', 'X25519', 'P-256'])
  await atStartAndAfterReloads({}, async (listener, when) => {
    // `auto` offers what OpenSSL prefers, in which the post-quantum group is first.
    for (const ecdhCurve of ['X25519MLKEM768', 'X25519', 'P-256', 'P-384:X25519MLKEM768']) {
      const pair = await listener.connect({ ...client, ecdhCurve })
      assert.equal(pair.error, undefined, `${ecdhCurve} ${when}`)
    }
    for (const ecdhCurve of ['P-384', 'X448', 'P-521']) {
      const pair = await listener.connect({ ...client, ecdhCurve })
      assert.equal(pair.server, undefined, `${ecdhCurve} ${when}`)
    }
  })
  await using strict = await listenTls(serverTlsOptions(identity, trust, { groups: ['X25519MLKEM768'] }))
  assert.equal((await strict.connect({ ...client, ecdhCurve: 'X25519' })).server, undefined)
  assert.equal((await strict.connect(clientTlsOptions(identityOf(svid), trust))).error, undefined)
})

test('a client certificate is asked for, and one that fails gets through the handshake to be judged', async () => {
  await atStartAndAfterReloads({}, async (listener, when) => {
    const nobody = await listener.connect({ rejectUnauthorized: false })
    assert.equal(nobody.server?.authorized, false, when)
    const stranger = await (await createTestMesh()).issue('/x')
    const pair = await listener.connect({ key: stranger.keyPem, cert: stranger.certificatePem, rejectUnauthorized: false })
    assert.equal(pair.server?.authorized, false, when)
  })
})

test('protocols are agreed by ALPN as they were chosen, after reloads too', async () => {
  await atStartAndAfterReloads({ alpnProtocols: ['h2', 'http/1.1'] }, async (listener, when) => {
    const pair = await listener.connect(clientTlsOptions(identityOf(svid), trust, { alpnProtocols: ['http/1.1', 'h2'] }))
    assert.equal(pair.server?.alpnProtocol, 'h2', when)
    const none = await listener.connect({ ...client, ALPNProtocols: ['imap'] })
    assert.equal(none.server, undefined, when)
  })
})

test('a client offers no session, no older version, and is not put off by the name of the host', async () => {
  const options = clientTlsOptions(identityOf(svid), trust)
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  const pair = await listener.connect({ ...options, servername: 'somewhere.else' })
  assert.ok(pair.client.authorized, String(pair.client.authorizationError))
  assert.ok(pair.server?.authorized)
  await using old = await listenTls({ key: identity.keyPem, cert: identity.certificatePem, ca: svid.bundlePem, maxVersion: 'TLSv1.2' })
  assert.match(String((await old.connect(options)).error), /protocol/i)
})

test('without roots there are no options: node would trust every public authority', () => {
  const nobody = { ...trust, allRoots: [] }
  for (const make of [() => serverTlsOptions(identity, nobody), () => clientTlsOptions(identity, nobody)]) {
    assert.throws(make, (error) => error instanceof PosternError && error.code === 'ERR_BUNDLE_EMPTY')
  }
})

test('where trust is federated the context knows the roots of all domains, else our own alone', async () => {
  const partner = await createTestMesh('partner.example')
  assert.deepEqual(serverTlsOptions(identity, trust).ca, [mesh.bundlePem])
  assert.deepEqual(serverTlsOptions(identity, trustIn([mesh, partner])).ca, [mesh.bundlePem, partner.bundlePem])
})

// OpenSSL's own client, since node's could be blind to what it does not ask for.

function opensslMajor(): number {
  const { stdout } = spawnSync('openssl', ['version'], { encoding: 'utf8' })
  return Number(/^OpenSSL (\d+)/.exec(stdout ?? '')?.[1] ?? 0)
}

async function openssl(args: readonly string[]): Promise<string> {
  const child = spawn('openssl', ['s_client', ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stdout.on('data', () => {
    if (output.includes('hello')) child.stdin.end('Q\n')
  })
  await once(child, 'close')
  return output
}

test('openssl s_client resumes no session that it kept, at start and after reloads', async (t: TestContext) => {
  if (opensslMajor() < 3) return t.skip('there is no openssl of version 3 or later')
  const dir = mkdtempSync(join(tmpdir(), 'postern-tls-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const files = writeSvid(dir, svid)
  for (const version of ['-tls1_3', '-tls1_2']) {
    await atStartAndAfterReloads({ minVersion: 'TLSv1.2' }, async (listener, when) => {
      listener.server.removeAllListeners('secureConnection').on('secureConnection', (socket: tls.TLSSocket) => {
        socket.on('error', () => {})
        socket.write(`hello reused=${socket.isSessionReused()}\n`)
        socket.on('data', () => {})
      })
      const session = join(dir, `session${version}`)
      const common = [
        '-connect',
        `127.0.0.1:${listener.port}`,
        '-cert',
        files.certificate,
        '-key',
        files.key,
        '-CAfile',
        files.bundle,
        version,
      ]
      const first = await openssl([...common, '-sess_out', session])
      assert.match(first, /hello reused=false/, `${version} ${when}`)
      assert.ok(existsSync(session), `${version} ${when}`)
      const second = await openssl([...common, '-sess_in', session])
      assert.match(second, /hello reused=false/, `${version} ${when}`)
      assert.doesNotMatch(second, /^Reused, /m, `${version} ${when}`)
    })
  }
})

test('renegotiation is refused', async () => {
  await using listener = await listenTls(serverTlsOptions(identity, trust, { minVersion: 'TLSv1.2' }))
  const pair = await listener.connect({ ...client, maxVersion: 'TLSv1.2' })
  assert.equal(pair.client.getProtocol(), 'TLSv1.2')
  const error = await new Promise<Error | null>((resolve) => {
    pair.client.once('error', resolve)
    pair.client.renegotiate({ rejectUnauthorized: false }, resolve)
  })
  assert.match(String(error), /no renegotiation/i)
})
