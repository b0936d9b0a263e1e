/** The demo's authority: `postern ca` in a folder of its own, and callers that hold identities of it, renewed as a sidecar's are. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { systemClock } from '#base/clock'
import { PosternError } from '#base/errors'
import { createCaSvidSource } from '#svid-source/ca'
import type { SvidSource } from '#svid-source/source'
import { silentLog } from '#telemetry/log'
import type { Command } from '../command.ts'
import type { Credentials } from './caller.ts'

/** Short, so that all that an authority does can be watched: looks of the sidecars at it, and of verifiers elsewhere at its bundle. */
const PACE = '  poll: 500ms\n  refreshHint: 1s\n'

export interface DemoAuthority {
  readonly bundle: string
  /** A `postern ca` command on this authority. @returns what it printed. @throws PosternError ERR_DEMO with what it said if it fails */
  command(name: 'token' | 'rotate', args: readonly string[]): Promise<string>
  /** Writes a join token for a path of example.org. */
  writeToken(path: string, file: string): Promise<void>
  /** An identity of a caller's own; the demo closes it. */
  join(path: string): Promise<Joined>
  /** A certificate that ends a second later. */
  issueBrief(path: string): Promise<Credentials>
}

export interface Joined {
  /** Those of now. */
  readonly credentials: Credentials
  readonly source: SvidSource
}

export interface DemoAuthorityOptions {
  /** Of the demo. */
  readonly dir: string
  readonly port: number
  readonly health: number
}

/** Makes it; `postern ca run --config authority/ca.yaml` starts it. */
export async function makeDemoAuthority({ dir, port, health }: DemoAuthorityOptions): Promise<DemoAuthority> {
  const { caCommand } = await import('../ca.ts')
  const subcommands = caCommand.subcommands ?? {}
  const config = join(dir, 'authority', 'ca.yaml')
  const bundle = join(dir, 'authority', 'keys', 'bundle.pem')

  async function run(name: string, args: readonly string[]): Promise<string> {
    const command = await subcommands[name]?.()
    if (command === undefined) throw new TypeError(`there is no \`ca ${name}\``)
    return runCommand(command, args, dir)
  }

  const command: DemoAuthority['command'] = (name, args) => run(name, [...args, '--config', config])
  const token = async (path: string): Promise<string> => (await command('token', ['--id', `spiffe://example.org${path}`])).trim()

  await run('init', ['authority', '--trust-domain', 'example.org', '--listen', `127.0.0.1:${port}`, '--health', `127.0.0.1:${health}`])
  writeFileSync(config, readFileSync(config, 'utf8') + PACE)
  return {
    bundle,
    command,
    writeToken: async (path, file) => writeFileSync(file, await token(path), { mode: 0o600 }),
    async join(path) {
      const file = join(dir, 'run', `caller${path.replaceAll('/', '-')}.token`)
      writeFileSync(file, await token(path), { mode: 0o600 })
      const source = await createCaSvidSource({
        ca: {
          kind: 'ca',
          address: { kind: 'tcp', host: '127.0.0.1', port },
          trustDomain: undefined,
          bundle,
          attest: { method: 'joinToken', file },
          cache: undefined,
        },
        federation: [],
        clock: systemClock,
        log: silentLog,
        random: Math.random,
      })
      // Its calls use what is in force at once.
      source.subscribe(() => source.applied?.(source.current))
      source.applied?.(source.current)
      return {
        source,
        get credentials() {
          const { identity, trust } = source.current
          const bundlePem = trust.allRoots.map(({ pem }) => pem).join('')
          return { certificatePem: identity.certificatePem, keyPem: identity.keyPem, bundlePem }
        },
      }
    },
    async issueBrief(path) {
      const { requestCommand } = await import('#certs-tooling/request')
      const out = join(dir, 'run', 'brief')
      const args = ['--ca', `127.0.0.1:${port}`, '--bundle', bundle, '--token-file', '-', '--ttl', '1s', '--out', out]
      await runCommand(requestCommand(systemClock), args, dir, await token(path))
      const read = (name: string): string => readFileSync(join(out, name), 'utf8')
      return { certificatePem: read('svid.pem'), keyPem: read('key.pem'), bundlePem: read('bundle.pem') }
    },
  }
}

/** In this process, as `postern` would. */
async function runCommand(command: Command, args: readonly string[], cwd: string, stdin = ''): Promise<string> {
  const said = { stdout: '', stderr: '' }
  const sink = (name: keyof typeof said): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        said[name] += chunk.toString()
        done()
      },
    })
  const io = { stdin: Readable.from([stdin]), stdout: sink('stdout'), stderr: sink('stderr'), env: {}, cwd, colour: false }
  const status = await command.run(args, io)
  if (status !== 0) throw new PosternError('ERR_DEMO', `A command of the demo failed: ${said.stderr.trim()}`)
  return said.stdout
}
