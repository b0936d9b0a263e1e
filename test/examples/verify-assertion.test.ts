/** The apps of examples/verify-assertion, each behind a real sidecar: they take what it vouches for, and nothing else. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import { openAssertionKeys } from '#proxy/assertion-keys'
import { createLog } from '#telemetry/log'
import { createAssertionSigner } from '#token/assertion'
import { CART } from '../support/policies.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { runSidecar } from '../support/sidecar.ts'
import { ask } from '../support/small-client.ts'

const FOLDER = join(import.meta.dirname, '../../examples/verify-assertion')
const OWN = 'spiffe://example.org/ns/test/sa/service'
const log = createLog({ name: 'test', clock: systemClock, random: () => 0, level: 'silent' })

interface Language {
  readonly name: string
  /** A command that ends well where the language and its libraries are there. */
  readonly present: readonly string[]
  readonly absent: string
  /** @param folder for what is built */
  readonly command: (folder: string) => readonly string[] | undefined
}

/** Go compiles its own library once, which takes minutes on a small machine. */
const BUILD_MS = 60_000

const LANGUAGES: readonly Language[] = [
  { name: 'Node', present: [process.execPath, '--version'], absent: '', command: () => [process.execPath, join(FOLDER, 'node/app.mjs')] },
  {
    name: 'Python',
    present: ['python3', '-c', 'import cryptography'],
    absent: 'python3 with cryptography is not here',
    command: () => ['python3', join(FOLDER, 'python/app.py')],
  },
  {
    name: 'Go',
    present: ['go', 'version'],
    absent: 'go is not here',
    command: (folder) => {
      const program = join(folder, 'app')
      const built = spawnSync('go', ['build', '-o', program, '.'], {
        cwd: join(FOLDER, 'go'),
        encoding: 'utf8',
        timeout: BUILD_MS,
        env: { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local', GOPROXY: 'off' },
      })
      if (built.signal !== null) return undefined
      assert.equal(built.status, 0, built.stderr)
      return [program]
    },
  },
]

/** @returns its port */
async function startApp(t: TestContext, command: readonly string[], keys: string): Promise<number> {
  const [program = '', ...args] = command
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: '0', ASSERTION_KEYS: keys, ASSERTION_ISSUER: OWN, ASSERTION_AUDIENCE: OWN },
  })
  t.after(() => child.kill('SIGKILL'))
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  return Number(/:(\d+)$/.exec(line)?.[1])
}

for (const { name, present, absent, command } of LANGUAGES) {
  test(`the app in ${name} knows callers by the assertion of its sidecar, and takes nobody else's word`, async (t) => {
    const [program = '', ...args] = present
    if (spawnSync(program, args, { stdio: 'ignore' }).status !== 0) return t.skip(absent)
    const line = command(temporaryFolder(t))
    if (line === undefined) return t.skip(`${name} has not compiled its library within ${BUILD_MS / 1000} s; the next run may`)
    const keys = await openKeys(t)
    const port = await startApp(t, line, keys.url)
    await using sidecar = await runSidecar({ app: port, inbound: '      assertion: {}\n' })
    keys.serve(sidecar.sidecar.assertions)
    using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/shop/sa/cart'))
    const answer = await call(sidecar.port, agent, '/', { headers: { 'x-postern-assertion': 'forged' } })
    assert.deepEqual([answer.status, answer.body], [200, 'spiffe://example.org/ns/shop/sa/cart\n'])

    const { assertions } = sidecar.sidecar
    const now = Date.now()
    const good = assertions.assert({ peer: CART, token: undefined }, OWN, OWN, now)
    const [head = '', body = '', mac = ''] = good.split('.')
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`
    const wrong: Readonly<Record<string, string | undefined>> = {
      absent: undefined,
      'not a token': 'x',
      'alg none': none,
      'a changed signature': `${head}.${body}.${mac.startsWith('A') ? 'B' : 'A'}${mac.slice(1)}`,
      'other claims': `${head}.${Buffer.from('{"sub":"spiffe://example.org/admin"}').toString('base64url')}.${mac}`,
      'for another app': assertions.assert({ peer: CART, token: undefined }, OWN, 'another', now),
      'of another sidecar': assertions.assert({ peer: CART, token: undefined }, 'spiffe://example.org/other', OWN, now),
      ended: assertions.assert({ peer: CART, token: undefined }, OWN, OWN, now - 3_600_000, { id: '', method: '', host: '', path: '' }),
      'of nobody': assertions.assert({ peer: undefined, token: undefined }, OWN, OWN, now),
      'of a stranger': createAssertionSigner().assert({ peer: CART, token: undefined }, OWN, OWN, now),
    }
    for (const [title, assertion] of Object.entries(wrong)) {
      const headers = assertion === undefined ? {} : { 'x-postern-assertion': assertion }
      assert.equal((await ask(port, '/', { headers })).status, 401, title)
    }
    assert.equal((await ask(port, '/', { headers: { 'x-postern-assertion': good } })).status, 200)
  })
}

/** The address is known before the sidecar whose keys are served. */
async function openKeys(t: TestContext) {
  let signer = createAssertionSigner()
  const server = await openAssertionKeys({
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    assertions: { assert: (...args) => signer.assert(...args), keySet: (now) => signer.keySet(now) },
    clock: systemClock,
    log,
  })
  t.after(() => server.close())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/.well-known/jwks.json`,
    serve(next: typeof signer) {
      signer = next
    },
  }
}
