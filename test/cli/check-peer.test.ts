/** `postern check --peer` against real sidecars, and against what is none. */
import assert from 'node:assert/strict'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { checkCommand } from '#cli/check'
import { createTestMesh } from '../support/authority.ts'
import { runInProcess } from '../support/run-command.ts'
import { createSidecarFolder } from '../support/sidecar-folder.ts'
import { runSidecar } from '../support/sidecar.ts'

const mesh = await createTestMesh()
const other = await createTestMesh('partner.example')
const server = await runSidecar({ mesh })
const caller = await createSidecarFolder({ mesh, path: '/ns/test/sa/caller' })
const stranger = await createSidecarFolder({ mesh: other, path: '/ns/test/sa/caller' })
const expired = await createSidecarFolder({ mesh, svid: await mesh.issue('/ns/test/sa/caller', { ttl: 1, now: Date.now() - 1000 }) })
after(async () => {
  await server[Symbol.asyncDispose]()
  for (const folder of [caller, stranger, expired]) folder[Symbol.dispose]()
})

interface Checked {
  readonly status: number
  readonly results: Readonly<Record<string, string>>
  readonly details: string
}

async function check(...args: readonly string[]): Promise<Checked> {
  const { status, stdout } = await runInProcess(checkCommand, [...args, '--output', 'json'])
  const { checks } = JSON.parse(stdout) as { checks: { id: string; status: string; details: string[] }[] }
  return {
    status,
    results: Object.fromEntries(checks.map((one) => [one.id, one.status])),
    details: checks.flatMap((one) => one.details).join('\n'),
  }
}

const at = (port: number): string => `127.0.0.1:${port}`

test('a sidecar that takes us passes, with who it is', async () => {
  const { status, results, details } = await check('--peer', at(server.port), '--config', caller.file)
  assert.deepEqual(results, { 'peer-connects': 'passed', 'peer-handshake': 'passed', 'peer-identity': 'passed', 'peer-admits': 'passed' })
  assert.match(details, /TLSv1\.3.*\nspiffe:\/\/example\.org\/ns\/test\/sa\/service/)
  assert.equal(status, 0)
})

test('who is expected must be who answers', async () => {
  const { status, details } = await check(
    '--peer',
    at(server.port),
    '--config',
    caller.file,
    '--expect',
    'spiffe://example.org/ns/test/sa/db',
  )
  assert.equal(status, 1)
  assert.match(details, /is spiffe:\/\/example\.org\/ns\/test\/sa\/service, and spiffe:\/\/example\.org\/ns\/test\/sa\/db is expected/)
})

test('of another trust domain: neither side knows the other', async () => {
  const { status, results, details } = await check('--peer', at(server.port), '--config', stranger.file)
  assert.equal(status, 1)
  assert.deepEqual([results['peer-identity'], results['peer-admits']], ['failed', 'failed'])
  assert.match(details, /ERR_SVID_TRUST_DOMAIN_UNKNOWN[\s\S]*does not take spiffe:\/\/partner\.example\/ns\/test\/sa\/caller/)
  const record = await server.record((entry) => entry['msg'] === 'handshake' && entry['peer'] !== undefined)
  assert.match(JSON.stringify(record['peer']), /partner\.example/, 'and the sidecar has recorded who was presented')
})

test('without a document: that a certificate is needed, and who the peer says it is', async () => {
  const { status, results, details } = await check('--peer', at(server.port))
  assert.equal(status, 1)
  assert.deepEqual([results['peer-identity'], results['peer-admits']], ['skipped', 'failed'])
  assert.match(details, /URI:spiffe:\/\/example\.org\/ns\/test\/sa\/service[\s\S]*takes nobody without a certificate/)
})

test('a protocol that the peer does not speak', async () => {
  const { status, details } = await check('--peer', at(server.port), '--config', caller.file, '--alpn', 'h2')
  assert.equal(status, 1)
  assert.match(details, /does not speak h2/)
})

test('nothing there, no such name, no TLS', async () => {
  const silent = createServer(
    (socket) =>
      void socket
        .on('error', () => {})
        .resume()
        .end('SSH-2.0-OpenSSH\r\n'),
  )
  await new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as AddressInfo
  const plain = await check('--peer', at(port), '--config', caller.file)
  assert.equal(plain.results['peer-handshake'], 'failed')
  assert.match(plain.details, /does not speak TLS|closed the connection during the handshake/)
  await new Promise<void>((resolve) => void silent.close(() => resolve()))
  const gone = await check('--peer', at(port), '--config', caller.file)
  assert.deepEqual(gone.results, { 'peer-connects': 'failed' })
  assert.match(gone.details, /nothing listens there/)
  const unknown = await check('--peer', 'no-such-host.invalid:7443')
  assert.deepEqual(unknown.results, { 'peer-resolves': 'failed' })
})

test('our own certificate has expired', async () => {
  const { status, details } = await check('--peer', at(server.port), '--config', expired.file)
  assert.equal(status, 1)
  assert.match(details, /Our own identity cannot be used:[\s\S]*ERR_SVID_EXPIRED/)
})

test('wrong usage is status 2', async () => {
  for (const args of [
    ['--peer', 'host'],
    ['--peer', 'a:1', '--expect', 'x'],
    ['--peer', 'a:1', '--alpn', 'h3'],
    ['--expect', 'spiffe://a/b'],
  ]) {
    assert.equal((await runInProcess(checkCommand, args)).status, 2, args.join(' '))
  }
  const broken = await runInProcess(checkCommand, ['--peer', 'a:1', '--config', join(caller.dir, 'absent.yaml')])
  assert.equal(broken.status, 2)
})
