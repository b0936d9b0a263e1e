/** The image as a cluster runs it: read-only root, no capabilities, a user without a name to speak of. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, suite, test } from 'node:test'
import { Wait } from 'testcontainers'
import { RUNTIME_FLAGS } from '../../scripts/build.ts'
import { createTestMesh } from '../support/authority.ts'
import { type DockerEngine, openDockerEngine } from '../support/docker-engine.ts'
import { buildImage, RestrictedContainer, TAG, useEngine } from '../support/restricted-container.ts'

const ROOT = join(import.meta.dirname, '../..')
const MEGABYTE = 1_000_000

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** The shop's example with certificates and ports of its own, readable to the container's user. */
async function prepareExample(): Promise<{ readonly folder: string; readonly healthPort: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-image-'))
  chmodSync(folder, 0o755)
  cpSync(join(ROOT, 'examples/shop'), folder, { recursive: true })
  mkdirSync(join(folder, 'run'))
  const authority = await createTestMesh()
  const { key } = await authority.writeTo(join(folder, 'svids/catalog'), '/ns/shop/sa/catalog')
  chmodSync(key, 0o644)
  const healthPort = await freePort()
  const document = join(folder, 'sidecars/catalog.yaml')
  const ports: Readonly<Record<string, number>> = { '7445': await freePort(), '8082': await freePort(), '7022': healthPort }
  // In a container by itself there is no authority to ask: its certificate lies in files.
  const files =
    '    files: { certificate: ../svids/catalog/svid.pem, key: ../svids/catalog/key.pem, bundle: ../svids/catalog/bundle.pem }\n'
  const example = readFileSync(document, 'utf8').replace(/ {4}ca:\n(?: {6}.*\n)+/, files)
  writeFileSync(
    document,
    example.replace(/127\.0\.0\.1:(\d+)/g, (_, port: string) => `127.0.0.1:${ports[port] ?? assert.fail(`unexpected port ${port}`)}`),
  )
  return { folder, healthPort }
}

const engine: DockerEngine | string = await openDockerEngine()
if (typeof engine === 'string') console.log(`# the image is not tested: ${engine}`)

suite('the image', { skip: typeof engine === 'string' ? engine : false }, () => {
  let example = { folder: '', healthPort: 0 }

  function mounted(container: RestrictedContainer): RestrictedContainer {
    container
      .withBindMounts([{ source: example.folder, target: '/etc/postern', mode: 'ro' }])
      .withTmpFs({ '/etc/postern/run': 'rw,uid=65532,mode=0700' })
    return container
  }

  async function output(command: string[], entrypoint?: string[]): Promise<string> {
    const container = mounted(new RestrictedContainer(command, Wait.forOneShotStartup()))
    if (entrypoint !== undefined) container.withEntrypoint(entrypoint)
    let said = ''
    container.withLogConsumer((stream) => stream.on('data', (chunk: Buffer) => (said += chunk.toString())))
    const started = await container.start().catch((error: unknown) => assert.fail(`${String(error)}\n${said}`))
    const log = await text(await started.logs())
    await started.stop()
    return log
  }

  before(async () => {
    useEngine(engine as DockerEngine)
    example = await prepareExample()
    await buildImage()
  })

  after(async () => {
    if (example.folder !== '') rmSync(example.folder, { recursive: true, force: true })
    await (engine as DockerEngine)[Symbol.asyncDispose]()
  })

  test('is smaller than 200 MB', (t) => {
    const size = Number(execFileSync('docker', ['image', 'inspect', '--format', '{{.Size}}', TAG], { encoding: 'utf8' }))
    t.diagnostic(`${(size / MEGABYTE).toFixed(0)} MB`)
    assert.ok(size > 10 * MEGABYTE && size < 200 * MEGABYTE, `${size} bytes`)
  })

  test('runs as a user that is not root, with the flags of the bundle', () => {
    const format = '{{.Config.User}} {{json .Config.Entrypoint}} {{json .Config.Healthcheck}}'
    const config = execFileSync('docker', ['image', 'inspect', '--format', format, TAG], { encoding: 'utf8' }).trim()
    assert.equal(config, `65532:65532 ${JSON.stringify(['node', ...RUNTIME_FLAGS, '/postern/postern.js'])} null`)
  })

  test('holds Node, its libraries and the program, and no other executable', async () => {
    const script = `const { readdirSync, statSync } = require('node:fs')
      const walk = (folder) => readdirSync(folder || '/', { withFileTypes: true }).flatMap((entry) => {
        const path = folder + '/' + entry.name
        if (entry.isDirectory()) return ['/proc', '/sys', '/dev'].includes(path) ? [] : walk(path)
        return entry.isFile() && statSync(path).mode & 0o111 ? [path] : []
      })
      console.log(JSON.stringify(walk('')))`
    const executables = JSON.parse(await output(['-e', script], ['node'])) as string[]
    // Docker itself adds the one that says that this is a container.
    const others = executables.filter((path) => path !== '/.dockerenv' && !/\.so(\.\d+)*$/.test(path) && !path.startsWith('/etc/postern/'))
    assert.deepEqual(
      others.toSorted((a, b) => a.localeCompare(b)),
      ['/postern/postern.js', '/usr/local/bin/node'],
    )
  })

  test('knows time zones without files for them', async () => {
    const script = "console.log(new Date(0).toLocaleString('en-GB', { timeZone: 'Pacific/Auckland' }))"
    assert.match(await output(['-e', script], ['node']), /^01\/01\/1970, 12:00:00/)
  })

  test('prints its help on a read-only root', async () => {
    assert.match(await output(['--help']), /postern: authorizes service-to-service traffic[^]*sidecar/)
  })

  test('checks a mounted document', async () => {
    const said = await output(['sidecar', '--check', '--config', '/etc/postern/sidecars/catalog.yaml'])
    assert.match(said, /spiffe:\/\/example\.org\/ns\/shop\/sa\/catalog/)
  })

  test('runs a sidecar that answers its probes and ends on SIGTERM', async () => {
    const log = Wait.forLogMessage(/"msg":"ready"/)
    const started = await mounted(new RestrictedContainer(['sidecar', '--config', '/etc/postern/sidecars/catalog.yaml'], log)).start()
    const base = `http://127.0.0.1:${example.healthPort}`
    assert.equal((await fetch(`${base}/livez`)).status, 200)
    assert.equal((await fetch(`${base}/readyz`)).status, 200)
    assert.match(await (await fetch(`${base}/metrics`)).text(), /^postern_build_info\{/m)
    execFileSync('docker', ['stop', '--time', '20', started.getId()])
    const state = execFileSync('docker', ['inspect', '--format', '{{.State.ExitCode}} {{.State.OOMKilled}}', started.getId()], {
      encoding: 'utf8',
    })
    assert.equal(state.trim(), '0 false')
    await started.stop()
  })
})
