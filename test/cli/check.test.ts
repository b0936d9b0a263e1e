/** `postern check`: each check holds where it should and fails where it should, with what to do; the page of checks is in step. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { checkCommand } from '#cli/check'
import { CHECKS, type CheckId } from '#cli/check/catalogue'
import { createTestMesh, issueCertificate, type TestMesh, writeSvid } from '../support/authority.ts'
import { type CommandRun, runInProcess } from '../support/run-command.ts'
import { runSidecar } from '../support/sidecar.ts'

const PROJECT = join(import.meta.dirname, '..', '..')
const HOUR = 3_600_000
const ID = '/ns/shop/sa/catalog'
const POLICY = 'allow: { and: [{ spiffe_id: spiffe://example.org/ns/shop/sa/cart }] }\n'

interface Patient {
  readonly folder: string
  readonly mesh: TestMesh
  readonly app: number
  readonly write: (name: string, content: string) => void
  readonly run: (...options: readonly string[]) => Promise<CommandRun>
  /** Runs with `--output json`. */
  readonly examine: (...options: readonly string[]) => Promise<Examination>
}

interface Examination {
  readonly exit: number
  readonly ok: boolean
  readonly of: (id: CheckId) => { readonly status: string; readonly details: readonly string[] } | undefined
}

/** An open port on loopback, or elsewhere. */
async function openPort(t: TestContext, host = '127.0.0.1', port = 0): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => undefined)).listen(port, host)
  t.after(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A document with all that belongs to it, healthy. */
async function patient(
  t: TestContext,
  { spec = '', name = 'catalog' }: { readonly spec?: string; readonly name?: string } = {},
): Promise<Patient> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-check-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const write = (file: string, content: string): void => writeFileSync(join(folder, file), content)
  const mesh = await createTestMesh()
  writeSvid(folder, await mesh.issue(ID))
  const app = await openPort(t)
  mkdirSync(join(folder, 'policies'))
  write('policies/a.yaml', POLICY)
  write(
    'postern.yaml',
    `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: ${name}, namespace: shop }
spec:
  identity: { files: { certificate: svid.pem, key: key.pem, bundle: bundle.pem } }
  inbound: [{ listen: 127.0.0.1:${await freePort()}, app: 127.0.0.1:${app} }]
  policies: [policies/]
  health: 127.0.0.1:${await freePort()}
${spec}`,
  )
  const run = (...options: readonly string[]): Promise<CommandRun> =>
    runInProcess(checkCommand, ['--config', 'postern.yaml', ...options], { cwd: folder })
  return {
    folder,
    mesh,
    app,
    write,
    run,
    async examine(...options) {
      const { status, stdout } = await run('--output', 'json', ...options)
      const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: { id: string; status: string; details: string[] }[] }
      return { exit: status, ok, of: (id) => checks.find((check) => check.id === id) }
    },
  }
}

test('a healthy sidecar that is not started yet passes', async (t) => {
  const { run } = await patient(t)
  const { status, stdout, stderr } = await run()
  assert.equal(status, 0, stdout)
  assert.equal(stderr, '')
  assert.doesNotMatch(stdout, /[×‼]/)
  assert.match(
    stdout,
    /^runtime\n-------\n√ Node is a version that Postern is made for\n\nconfiguration\n-------------\n√ the document is valid\n/,
  )
  assert.match(stdout, /\n- the sidecar answers on its admin address \(no sidecar runs\)\n/)
  assert.match(stdout, /\nStatus check results are √\n$/)
})

test('without a document only the runtime is looked at', async () => {
  const { status, stdout, stderr } = await runInProcess(checkCommand, [])
  assert.equal(status, 0)
  assert.match(stdout, /√ OpenSSL has the key exchange groups/)
  assert.match(stderr, /--config FILE/)
})

test('a failure says what, what to do, and where to read on', async (t) => {
  const { run, folder } = await patient(t)
  chmodSync(join(folder, 'key.pem'), 0o644)
  const { status, stdout } = await run('--offline')
  assert.equal(status, 1)
  const expected = `× the private key is for its owner alone
    \`${folder}/key.pem\` has mode 0644: every user of this host can get at it.
    Run \`chmod 600\` on it; on Kubernetes set \`defaultMode: 0400\` for the volume.
    see docs/checks.md#key-mode
`
  assert.ok(stdout.includes(expected), stdout)
  assert.match(stdout, /Status check results are ×\n$/)
})

test('JSON has the same, and colour is for terminals', async (t) => {
  const { folder, run } = await patient(t)
  chmodSync(join(folder, 'key.pem'), 0o604)
  const json = JSON.parse((await run('--offline', '--output', 'json')).stdout) as Record<string, unknown>
  assert.deepEqual([json['ok'], json['failed'], json['warnings']], [false, 1, 0])
  const check = (json['checks'] as Record<string, unknown>[]).find(({ id }) => id === 'key-mode')
  assert.deepEqual(check, {
    category: 'identity',
    id: 'key-mode',
    title: CHECKS['key-mode'].title,
    status: 'failed',
    details: [`\`${folder}/key.pem\` has mode 0604: every user of this host can get at it.`],
    hint: CHECKS['key-mode'].hint,
    see: 'docs/checks.md#key-mode',
  })
  const coloured = await runInProcess(checkCommand, ['--offline', '--config', 'postern.yaml'], { cwd: folder, colour: true })
  assert.match(coloured.stdout, /\u001B\[31m×\u001B\[0m/)
})

test('--offline connects to nothing', async (t) => {
  const { examine } = await patient(t)
  const found = await examine('--offline')
  assert.equal(found.of('app-answers'), undefined)
  assert.equal(found.of('listen-addresses'), undefined)
  assert.equal(found.of('certificate-chain')?.status, 'passed')
})

test('a wrong document is status 2, with file, line and column, and ends the examination', async (t) => {
  const { run, write, folder } = await patient(t)
  write('postern.yaml', readFileSync(join(folder, 'postern.yaml'), 'utf8').replace('policies:', 'polices:'))
  const { status, stdout } = await run()
  assert.equal(status, 2)
  assert.match(stdout, /× the document is valid\n {4}postern\.yaml:7:3: .*`polices`.*Did you mean `policies`.*ERR_CONFIG_UNKNOWN_KEY/)
  assert.doesNotMatch(stdout, /identity\n/)
})

test('wrong options are usage errors', async () => {
  const { status, stderr } = await runInProcess(checkCommand, ['--confg', 'x'])
  assert.equal(status, 2)
  assert.match(stderr, /--config/)
  assert.equal((await runInProcess(checkCommand, ['--output', 'xml'])).status, 2)
})

/** What ails the patient, how that is brought about, the check that says so, its status, and what it says. */
const ailments: readonly (readonly [string, (patient: Patient) => unknown, CheckId, 'warning' | 'failed', RegExp, number?])[] = [
  [
    'a policy that is wrong',
    ({ write }) => write('policies/b.yaml', 'allow: { and: [{ spifee_id: x }] }'),
    'policies-valid',
    'failed',
    /policies\/b\.yaml:1:18: .*spiffe_id/,
    2,
  ],
  [
    'an allow rule with a loose prefix',
    ({ write }) => write('policies/b.yaml', 'allow: { and: [{ http_path: { starts_with: /admin } }] }'),
    'policies-sound',
    'warning',
    /policies\/b\.yaml:1:\d+: warning: /,
  ],
  [
    'no policy',
    ({ folder }) => unlinkSync(join(folder, 'policies/a.yaml')),
    'policies-allow',
    'warning',
    /there is no policy, so every request is refused/,
  ],
  [
    'only deny rules',
    ({ write }) => write('policies/a.yaml', 'deny: { or: [{ http_path: /x }] }'),
    'policies-allow',
    'warning',
    /none with an allow rule/,
  ],
  [
    'only shadow policies',
    ({ write }) =>
      write(
        'policies/a.yaml',
        `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec: { mode: shadow, rules: [{ ${POLICY.trim()} }] }\n`,
      ),
    'policies-allow',
    'warning',
    /in shadow mode, none enforced/,
  ],
  [
    'policies for another service',
    ({ write }) =>
      write(
        'policies/a.yaml',
        `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec: { target: { service: cart }, rules: [{ ${POLICY.trim()} }] }\n`,
      ),
    'policies-allow',
    'warning',
    /none of 1 policies is for it/,
  ],
  ['a missing certificate', ({ folder }) => unlinkSync(join(folder, 'svid.pem')), 'identity-files', 'failed', /svid\.pem` does not exist/],
  [
    'a bundle that is not text',
    ({ folder }) => writeFileSync(join(folder, 'bundle.pem'), Buffer.from([0xff])),
    'identity-files',
    'failed',
    /is not text/,
  ],
  ['a key that everyone can read', ({ folder }) => chmodSync(join(folder, 'key.pem'), 0o644), 'key-mode', 'failed', /mode 0644/],
  [
    'a key that its group can replace',
    ({ folder }) => chmodSync(join(folder, 'key.pem'), 0o660),
    'key-mode',
    'warning',
    /its group can replace it/,
  ],
  [
    'a certificate without SPIFFE ID',
    async ({ mesh, folder }) => writeSvid(folder, await mesh.issueFlawed({ uris: [] })),
    'svid-rules',
    'failed',
    /ERR_SVID_NO_ID/,
  ],
  [
    'the key of another certificate',
    async ({ mesh, write }) => write('key.pem', (await mesh.issue(ID)).keyPem),
    'key-matches',
    'failed',
    /ERR_IDENTITY_KEY/,
  ],
  ['a bundle that is none', ({ write }) => write('bundle.pem', 'nonsense'), 'bundles-valid', 'failed', /ERR_BUNDLE_MALFORMED/],
  [
    'the bundle of another authority',
    async ({ write }) => write('bundle.pem', (await createTestMesh()).bundlePem),
    'certificate-chain',
    'failed',
    /Peers with this bundle would refuse it.*ERR_SVID_ISSUER_UNKNOWN/,
  ],
  [
    'a certificate that begins in an hour',
    async ({ mesh, folder }) => writeSvid(folder, await mesh.issue(ID, { now: Date.now() + HOUR, ttl: 2 * HOUR })),
    'clock-skew',
    'failed',
    /59 minutes from now by the clock of this host/,
  ],
  [
    'a certificate that has ended',
    async ({ mesh, folder }) => writeSvid(folder, await mesh.issue(ID, { now: Date.now() - 30 * 60_000, ttl: 10 * 60_000 })),
    'certificate-expiry',
    'failed',
    /20 minutes ago/,
  ],
  [
    'a certificate with less than a quarter of its life left',
    async ({ mesh, folder }) => writeSvid(folder, await mesh.issue(ID, { now: Date.now() - 50 * 60_000, ttl: HOUR })),
    'certificate-expiry',
    'warning',
    /in 10 minutes; it was issued for/,
  ],
  [
    'an authority that ends soon',
    async ({ folder }) => {
      const old = await createTestMesh('example.org', { now: Date.now() - 8 * 24 * HOUR, intermediate: false })
      writeSvid(folder, await old.issue(ID))
    },
    'bundle-expiry',
    'warning',
    /authority [0-9a-f]{12}… of example\.org ends at .*in 2 days|in 48 hours/,
  ],
  [
    'an authority that has ended, beside one that lives',
    async ({ mesh, write }) => {
      const old = await createTestMesh('example.org', { now: Date.now() - 20 * 24 * HOUR })
      write('bundle.pem', mesh.bundlePem + old.bundlePem)
    },
    'bundle-expiry',
    'warning',
    /ended at .*; take it out of the bundle/,
  ],
  [
    'a bundle whose only authority has ended',
    async ({ write }) => write('bundle.pem', (await createTestMesh('example.org', { now: Date.now() - 20 * 24 * HOUR })).bundlePem),
    'bundle-expiry',
    'failed',
    /ended at/,
  ],
]
for (const [what, afflict, id, status, says, exit = status === 'failed' ? 1 : 0] of ailments) {
  test(`it finds ${what}`, async (t) => {
    const ill = await patient(t)
    await afflict(ill)
    const found = await ill.examine('--offline')
    assert.equal(found.of(id)?.status, status, JSON.stringify(found.of(id)))
    assert.match(found.of(id)!.details.join('\n'), says)
    assert.equal(found.exit, exit)
    assert.equal(found.ok, exit === 0)
  })
}

test('a certificate that lives for long is due a day before its end', async (t) => {
  const { mesh, folder, examine } = await patient(t)
  const { certificatePem, keyPem } = await issueCertificate({
    authority: mesh.root,
    notBefore: Date.now() - 60_000,
    notAfter: Date.now() + 4 * 24 * HOUR,
  })
  writeFileSync(join(folder, 'svid.pem'), certificatePem)
  writeFileSync(join(folder, 'key.pem'), keyPem)
  assert.equal((await examine('--offline')).of('certificate-expiry')?.status, 'passed')
  const due = await issueCertificate({ authority: mesh.root, notBefore: Date.now() - 60 * HOUR, notAfter: Date.now() + 23 * HOUR })
  writeFileSync(join(folder, 'svid.pem'), due.certificatePem)
  writeFileSync(join(folder, 'key.pem'), due.keyPem)
  assert.equal((await examine('--offline')).of('certificate-expiry')?.status, 'warning')
})

test('a fault in one file does not hide one in another', async (t) => {
  const { folder, write, examine } = await patient(t, { spec: '  federation: { partner.example: { bundle: partner.pem } }\n' })
  chmodSync(join(folder, 'key.pem'), 0o666)
  write('policies/b.yaml', 'allow: x')
  const { of } = await examine('--offline')
  assert.equal(of('policies-valid')?.status, 'failed')
  assert.equal(of('key-mode')?.status, 'failed')
  assert.match(of('identity-files')?.details.join('') ?? '', /partner\.pem/)
  assert.equal(of('certificate-chain')?.status, 'passed')
})

test('an address that is taken is found', async (t) => {
  const { examine, folder, write } = await patient(t)
  const taken = await openPort(t)
  const document = readFileSync(join(folder, 'postern.yaml'), 'utf8')
  write('postern.yaml', document.replace(/listen: \S+,/, `listen: 127.0.0.1:${taken},`))
  let found = await examine()
  assert.deepEqual(found.of('listen-addresses'), {
    ...found.of('listen-addresses'),
    status: 'failed',
    details: [`127.0.0.1:${taken}: another process listens there.`],
  })
  write('postern.yaml', document.replace(/listen: \S+,/, 'listen: 192.0.2.1:7443,'))
  found = await examine()
  assert.deepEqual(found.of('listen-addresses')?.details, ['192.0.2.1:7443: this host has no such address.'])
})

test('an app that is absent is a warning while no sidecar runs', async (t) => {
  const { examine, folder, write } = await patient(t)
  write('postern.yaml', readFileSync(join(folder, 'postern.yaml'), 'utf8').replace(/app: \S+ /, `app: 127.0.0.1:${await freePort()} `))
  const found = await examine()
  assert.equal(found.exit, 0)
  assert.equal(found.of('app-answers')?.status, 'warning')
  assert.match(found.of('app-answers')!.details[0]!, /nothing listens there/)
  assert.equal(found.of('app-bypass')?.status, 'skipped')
})

const publicAddress = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address

test('an app that listens beyond loopback is found', { skip: publicAddress === undefined && 'this host has only loopback' }, async (t) => {
  const { examine, app } = await patient(t)
  assert.equal((await examine()).of('app-bypass')?.status, 'passed')
  await openPort(t, publicAddress, app)
  const found = await examine()
  assert.equal(found.of('app-bypass')?.status, 'warning')
  assert.match(found.of('app-bypass')!.details[0]!, new RegExp(`^${publicAddress}:${app} takes connections from others`))
  assert.equal(found.exit, 0)
})

test('something else on the admin address is found', async (t) => {
  const { examine, folder, write } = await patient(t)
  write('postern.yaml', `${readFileSync(join(folder, 'postern.yaml'), 'utf8')}  admin: 127.0.0.1:${await openHttp(t)}\n`)
  const found = await examine()
  assert.equal(found.of('admin-answers')?.status, 'warning')
  assert.match(found.of('admin-answers')!.details[0]!, /is no sidecar/)
})

async function openHttp(t: TestContext): Promise<number> {
  const server = createHttpServer((_request, response) => response.end('{}')).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

test('a running sidecar is asked how it does', async (t) => {
  const { folder, examine, write, app } = await patient(t)
  const child = spawn(process.execPath, [join(PROJECT, 'src/cli/main.ts'), 'sidecar', '--config', join(folder, 'postern.yaml')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.after(async () => {
    child.kill('SIGTERM')
    await once(child, 'exit')
  })
  for await (const line of createInterface({ input: child.stderr })) if (line.includes('"ready"')) break
  const healthy = await examine()
  for (const id of ['admin-answers', 'listen-addresses', 'newest-in-force', 'health-answers', 'app-answers'] as const) {
    assert.equal(healthy.of(id)?.status, 'passed', id)
  }
  assert.equal(healthy.exit, 0)

  const document = readFileSync(join(folder, 'postern.yaml'), 'utf8')
  write('postern.yaml', document.replace(`app: 127.0.0.1:${app}`, `app: 127.0.0.1:${await freePort()}`))
  const moved = await examine()
  assert.deepEqual(moved.of('newest-in-force')?.details, ['`spec.inbound` of the document is not the one in force.'])
  assert.equal(moved.of('app-answers')?.status, 'failed', 'an absent app is a fault while a sidecar runs')
  assert.equal(moved.exit, 1)
})

test('destinations are dialled, and must be who is expected', async (t) => {
  const mesh = await createTestMesh()
  await using server = await runSidecar({ mesh, path: '/ns/shop/sa/cart' })
  const spec = (peer: string, port = server.port): string => `  outbound: [{ listen: 127.0.0.1:0, to: localhost:${port}, peer: ${peer} }]\n`
  const expected = 'spiffe://example.org/ns/shop/sa/cart'
  const { folder, examine, write } = await patient(t, { spec: spec(expected) })
  const document = readFileSync(join(folder, 'postern.yaml'), 'utf8')
  const point = (to: string): void => write('postern.yaml', document.replace(spec(expected), to))

  const stranger = await examine()
  assert.equal(stranger.of('destinations-identity')?.status, 'failed')
  assert.match(
    stranger.of('destinations-identity')!.details[0]!,
    /its certificate is refused: ERR_SVID_ISSUER_UNKNOWN.*it showed "spiffe:\/\/example\.org\/ns\/shop\/sa\/cart"/,
  )

  writeSvid(folder, await mesh.issue(ID))
  const friend = await examine()
  assert.equal(friend.exit, 0)
  assert.deepEqual(
    (['peers-trusted', 'destinations-resolve', 'destinations-identity'] as const).map((id) => friend.of(id)?.status),
    ['passed', 'passed', 'passed'],
  )

  point(spec('spiffe://example.org/ns/shop/sa/other'))
  assert.match(
    (await examine()).of('destinations-identity')!.details[0]!,
    /is spiffe:\/\/example\.org\/ns\/shop\/sa\/cart, and spiffe:\/\/example\.org\/ns\/shop\/sa\/other is expected/,
  )

  point(spec('spiffe://elsewhere.example/x'))
  assert.match((await examine()).of('peers-trusted')!.details[0]!, /no bundle of elsewhere\.example/)

  point(spec(expected, await freePort()))
  assert.match((await examine()).of('destinations-identity')!.details[0]!, /nothing listens there/)

  point(spec(expected).replace('localhost', 'nowhere.invalid'))
  const nowhere = await examine()
  assert.match(nowhere.of('destinations-resolve')!.details[0]!, /nowhere\.invalid: /)
  assert.equal(nowhere.of('destinations-identity')?.status, 'skipped')
})

test('a destination that does not take our certificate is found', async (t) => {
  const mesh = await createTestMesh()
  const partner = await createTestMesh('partner.example')
  // It knows nothing of our trust domain; we know its.
  await using server = await runSidecar({ mesh: partner, path: '/ns/shop/sa/cart' })
  const { folder, examine, write } = await patient(t, {
    spec: `  federation: { partner.example: { bundle: partner.pem } }
  outbound: [{ listen: 127.0.0.1:0, to: 127.0.0.1:${server.port}, peer: spiffe://partner.example/ns/shop/sa/cart }]
`,
  })
  writeSvid(folder, await mesh.issue(ID))
  write('partner.pem', partner.bundlePem)
  const found = await examine()
  assert.match(found.of('destinations-identity')?.details.join('') ?? '', /closed the connection at once: it does not take our certificate/)
})

test('docs/checks.md has a section for every check, in its category, and no other', () => {
  const page = readFileSync(join(PROJECT, 'docs/checks.md'), 'utf8')
  let category = ''
  const found: [string, string][] = []
  for (const [, level = '', title = ''] of page.matchAll(/^(##|###) (.+)$/gm)) {
    if (level === '##') category = title
    else found.push([title, category])
  }
  assert.deepEqual(
    found,
    Object.entries(CHECKS).map(([id, text]) => [id, text.category]),
  )
})
