/** step-ca, a certificate authority in Go with a durable store of its own: built from its module where Go is, with a provisioner that takes tokens. */
import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { join } from 'node:path'
import process from 'node:process'
import { SignJWT } from 'jose'
import { authorityFiles, makeAuthority } from '#certs-tooling/authority-folder'
import { CORES } from '../environment/cores.ts'
import { freePort, waitUntil } from '../environment/ports.ts'
import { end, start } from '../environment/processes.ts'
import { CACHE } from '../environment/tools.ts'
import { AUTHORITY_DOMAIN } from './ca.ts'

export const STEP_CA_VERSION = '0.30.2'
const PROVISIONER = 'bench'
const KEY_ID = 'bench'
const DAY = 86_400_000

/** The program, or why there is none. */
export type FoundStepCa = { readonly program: string } | { readonly missing: string }

/** @param mayBuild some four minutes of a processor, and the module proxy; what was built is kept in `.cache` */
export function ensureStepCa(mayBuild: boolean): FoundStepCa {
  const folder = join(CACHE, `step-ca-${STEP_CA_VERSION}`)
  const program = join(folder, 'step-ca')
  if (existsSync(program)) return { program }
  if (spawnSync('go', ['version'], { stdio: 'ignore' }).status !== 0) return { missing: 'there is no Go here to build it with' }
  if (!mayBuild) return { missing: 'not built yet; `npm run bench -- ca` builds it' }
  mkdirSync(folder, { recursive: true })
  console.error(`building step-ca ${STEP_CA_VERSION} from its Go module`)
  // Without cgo: smart cards are what needs it.
  const env = { ...process.env, GOBIN: folder, CGO_ENABLED: '0', GOTOOLCHAIN: 'local' }
  try {
    execFileSync('go', ['install', `github.com/smallstep/certificates/cmd/step-ca@v${STEP_CA_VERSION}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env,
    })
    return { program }
  } catch (error) {
    const { stderr, message } = error as Error & { readonly stderr?: Buffer | null }
    return { missing: `it cannot be built: ${stderr?.toString().trim().split('\n').at(-1) ?? message}` }
  }
}

export interface RunningStepCa extends AsyncDisposable {
  readonly port: number
  readonly pid: number
  readonly bundlePem: string
  /** A token that its provisioner takes once, for a workload's SPIFFE ID. */
  token(id: string): Promise<string>
}

/** Its default store (badger, synced at every write), its defaults otherwise; an authority as ours has one. */
export async function startStepCa(program: string, folder: string): Promise<RunningStepCa> {
  const port = await freePort()
  const at = (name: string): string => join(folder, name)
  mkdirSync(folder, { recursive: true })
  const made = await makeAuthority({ trustDomain: AUTHORITY_DOMAIN, now: Date.now(), rootTtl: 3650 * DAY, intermediateTtl: 365 * DAY })
  for (const { path, content, mode } of authorityFiles(folder, made)) writeFileSync(path, content, { mode })
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(at('ca.json'), JSON.stringify(document(folder, port, publicKey)))
  const child = start(program, [at('ca.json')], { core: CORES.proxy, stdio: ['ignore', 'ignore', openSync(at('log'), 'a')] })
  const bundlePem = readFileSync(at('bundle.pem'), 'utf8')
  await waitUntil(() => isHealthy(port, bundlePem), child, 'step-ca')
  return {
    port,
    pid: child.pid ?? 0,
    bundlePem,
    token: (id) =>
      new SignJWT({ sans: [id] })
        .setProtectedHeader({ alg: 'ES256', kid: KEY_ID })
        .setIssuer(PROVISIONER)
        .setAudience(`https://127.0.0.1:${port}/1.0/sign`)
        .setSubject(id)
        .setJti(crypto.randomUUID())
        .setIssuedAt()
        .setNotBefore('0s')
        .setExpirationTime('1h')
        .sign(privateKey),
    [Symbol.asyncDispose]: () => end(child),
  }
}

function document(folder: string, port: number, publicKey: KeyObject): object {
  const key = { ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: KEY_ID }
  return {
    root: join(folder, 'root.pem'),
    crt: join(folder, 'intermediate.pem'),
    key: join(folder, 'intermediate-key.pem'),
    address: `127.0.0.1:${port}`,
    dnsNames: ['127.0.0.1'],
    db: { type: 'badgerv2', dataSource: join(folder, 'db') },
    authority: {
      provisioners: [{ type: 'JWK', name: PROVISIONER, key, claims: { maxTLSCertDuration: '24h', defaultTLSCertDuration: '8h' } }],
    },
    tls: { minVersion: 1.3, maxVersion: 1.3, renegotiation: false },
  }
}

function isHealthy(port: number, ca: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  get({ host: '127.0.0.1', port, path: '/health', ca, agent: false }, (response) => {
    response.resume()
    resolve(response.statusCode === 200)
  }).on('error', () => resolve(false))
  return promise
}
