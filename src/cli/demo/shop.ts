/** The demo's mesh: the authority, the three services of examples/shop and their sidecars, as processes on free loopback ports, in a folder of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { PosternError } from '#base/errors'
import { createAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import { type DemoAuthority, type Joined, makeDemoAuthority } from './authority.ts'
import type { Credentials } from './caller.ts'
import { addTokenIssuer, type TokenIssuer } from './tokens.ts'

export const SERVICES = ['storefront', 'cart', 'catalog'] as const
export type Service = (typeof SERVICES)[number]

export interface Shop extends AsyncDisposable {
  readonly dir: string
  /** Where callers reach a service: its sidecar's mTLS port. */
  readonly ports: Readonly<Record<Service, number>>
  /** Where the service itself listens, behind its sidecar. */
  readonly appPorts: Readonly<Record<Service, number>>
  readonly authority: DemoAuthority
  readonly tokens: TokenIssuer
  /** An identity of example.org for a caller of the demo's own, renewed while the demo runs. */
  join(path: string): Promise<Joined>
  /** A certificate of another trust domain. */
  issueForeign(path: string): Promise<Credentials>
  readPolicy(name: Service): string
  writePolicy(name: Service, text: string): void
  /** Gives the processes up: they go on after this one. */
  release(): void
}

const HOUR = 3_600_000
const READY_MS = 15_000
const AUTHORITY_PORT = 7100
const FLAGS = ['--max-semi-space-size=2']
/** What examples/shop has: mTLS, app, outbound, health, authority. */
const PORT = /127\.0\.0\.1:(\d{4})/g

/** @throws PosternError ERR_DEMO where a process does not come up */
export async function startShop(program: string): Promise<Shop> {
  const source = exampleFolder(program)
  const dir = mkdtempSync(join(tmpdir(), 'postern-demo-'))
  cpSync(source, dir, { recursive: true })
  mkdirSync(join(dir, 'run'), { recursive: true })
  const moved = await movePorts(dir)
  const tokens = addTokenIssuer(dir)
  const joined: Joined[] = []
  const processes: ChildProcess[] = []

  async function issueForeign(path: string): Promise<Credentials> {
    const trustDomain = 'elsewhere.example'
    const now = Date.now()
    const authority = await createAuthority({ trustDomain, kind: 'root', notBefore: now - HOUR, notAfter: now + HOUR })
    const svid = await issueSvid({ authority, id: `spiffe://${trustDomain}${path}`, now, ttl: HOUR })
    return { certificatePem: svid.certificatePem, keyPem: svid.keyPem ?? '', bundlePem: authority.certificatePem }
  }

  function start(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): void {
    const log = openSync(join(dir, 'run', `${name}.log`), 'w')
    const child = spawn(process.execPath, args, { cwd: dir, detached: true, stdio: ['ignore', log, log], env: { ...process.env, ...env } })
    processes.push(child)
  }

  function stop(): void {
    for (const { exitCode, pid } of processes) {
      if (exitCode === null && pid !== undefined) process.kill(pid, 'SIGTERM')
    }
  }

  async function close(): Promise<void> {
    for (const { source } of joined) source.close()
    const ended = processes.filter((child) => child.exitCode === null).map((child) => once(child, 'exit'))
    stop()
    await Promise.all(ended)
    rmSync(dir, { recursive: true, force: true })
  }

  const health = await freePort()
  const authority = await makeDemoAuthority({ dir, port: moved.get(AUTHORITY_PORT) ?? 0, health })
  try {
    start('authority', [...FLAGS, program, 'ca', 'run', '--config', 'authority/ca.yaml'])
    for (const service of SERVICES) await authority.writeToken(`/ns/shop/sa/${service}`, join(dir, 'run', `${service}.token`))
    const port = (old: number): string => String(moved.get(old))
    start('storefront-app', ['services/storefront.mjs'], { PORT: port(8080), CART_URL: `http://127.0.0.1:${port(7101)}` })
    start('cart-app', ['services/cart.mjs'], { PORT: port(8081), CATALOG_URL: `http://127.0.0.1:${port(7102)}` })
    start('catalog-app', ['services/catalog.mjs'], { PORT: port(8082) })
    // They wait for the authority by themselves.
    for (const service of SERVICES) start(service, [...FLAGS, program, 'sidecar', '--config', `sidecars/${service}.yaml`])
    await Promise.all([health, ...[7020, 7021, 7022].map((old) => moved.get(old) ?? 0)].map((at) => untilReady(dir, at)))
  } catch (error) {
    await close()
    throw error
  }

  const of = (storefront: number, cart: number, catalog: number): Record<Service, number> => ({
    storefront: moved.get(storefront) ?? 0,
    cart: moved.get(cart) ?? 0,
    catalog: moved.get(catalog) ?? 0,
  })
  return {
    dir,
    ports: of(7443, 7444, 7445),
    appPorts: of(8080, 8081, 8082),
    authority,
    tokens,
    async join(path) {
      const caller = await authority.join(path)
      joined.push(caller)
      return caller
    },
    issueForeign,
    readPolicy: (name) => readFileSync(join(dir, 'policies', `${name}.yaml`), 'utf8'),
    writePolicy: (name, text) => writeFileSync(join(dir, 'policies', `${name}.yaml`), text),
    release() {
      for (const child of processes) child.unref()
    },
    [Symbol.asyncDispose]: close,
  }
}

/** Beside the source in a checkout, beside dist/ in the package. */
function exampleFolder(program: string): string {
  for (const up of ['../../..', '../..', '..']) {
    const folder = join(program, up, 'examples', 'shop')
    if (existsSync(join(folder, 'services'))) return folder
  }
  throw new PosternError(
    'ERR_DEMO',
    'The demo needs the folder examples/shop, which a checkout and the npm package have. Run it from one of those.',
  )
}

/** Replaces every port of the documents by a free one. Held open until all are chosen, so that none is chosen twice. */
async function movePorts(dir: string): Promise<ReadonlyMap<number, number>> {
  const folder = join(dir, 'sidecars')
  const files = readdirSync(folder).map((name) => join(folder, name))
  const old = new Set(files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(PORT)].map((match) => Number(match[1]))))
  const moved = new Map<number, number>()
  const held = []
  for (const port of old) {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    held.push(server)
    moved.set(port, (server.address() as AddressInfo).port)
  }
  for (const server of held) {
    server.close()
    await once(server, 'close')
  }
  for (const file of files) {
    const text = readFileSync(file, 'utf8').replaceAll(PORT, (_, port: string) => `127.0.0.1:${moved.get(Number(port))}`)
    writeFileSync(file, text)
  }
  return moved
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function untilReady(dir: string, port: number): Promise<void> {
  const deadline = Date.now() + READY_MS
  while (Date.now() < deadline) {
    if ((await statusOf(port)) === 200) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new PosternError('ERR_DEMO', `A process of the demo did not become ready in ${READY_MS / 1000} s.${lastWords(dir)}`)
}

function statusOf(port: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  const probe = request({ host: '127.0.0.1', port, path: '/readyz' }, (response) => {
    response.resume()
    resolve(response.statusCode ?? 0)
  })
  probe.on('error', () => resolve(0))
  probe.end()
  return promise
}

/** What the processes said last: their folder goes with the demo. */
function lastWords(dir: string): string {
  return readdirSync(join(dir, 'run'))
    .filter((name) => name.endsWith('.log'))
    .map(
      (name) =>
        [
          name,
          readFileSync(join(dir, 'run', name), 'utf8')
            .trim()
            .split('\n')
            .at(-1) ?? '',
        ] as const,
    )
    .filter(([, line]) => line !== '')
    .map(([name, line]) => `\n  ${name}: ${line}`)
    .join('')
}
