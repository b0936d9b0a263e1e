/** A PostgreSQL of a test's own, from Debian's package: in a temporary folder, on a Unix socket, as a user that is not root. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, globSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

export interface PostgresCluster {
  /** Folder of the socket. */
  readonly host: string
  /** A database; its URL. */
  readonly createDatabase: (name: string) => string
  /** Removes every table in it. */
  readonly emptyDatabase: (name: string) => void
  /** Runs statements by `psql`. */
  readonly run: (database: string, statements: string) => string
  readonly stop: () => Promise<void>
  /** Ends it as a power cut would, but that the system's own memory stays. */
  readonly crash: () => Promise<void>
  readonly start: () => Promise<void>
  /** Stops it and removes everything. */
  readonly close: () => Promise<void>
}

/** The newest version's programs; undefined where the package is not installed. */
function binaries(): string | undefined {
  const found = globSync('/usr/lib/postgresql/*/bin/postgres').toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  return found.at(-1)?.replace(/\/postgres$/, '')
}

/** Why there is none on this machine; false where there is. */
export const NO_POSTGRES: string | false =
  binaries() === undefined ? 'there is no PostgreSQL server here (Debian and Ubuntu: `apt-get install postgresql`)' : false

/** PostgreSQL refuses to run as root. */
export function postgresUser(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.geteuid?.() !== 0) return undefined
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** @param settings of postgresql.conf */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresCluster> {
  const bin = binaries()
  if (bin === undefined) throw new Error(String(NO_POSTGRES))
  const user = postgresUser()
  const { port = '5432' } = settings
  const folder = mkdtempSync(join(tmpdir(), 'pg-'))
  if (user !== undefined) chownSync(folder, user.uid, user.gid)
  const data = join(folder, 'data')
  const how = { ...user, cwd: folder, env: { ...process.env, LC_ALL: 'C.UTF-8' } }
  execFileSync(join(bin, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'postern', '-E', 'UTF8', '--no-sync'], { ...how, stdio: 'pipe' })
  let server: ReturnType<typeof spawn> | undefined

  async function start(): Promise<void> {
    const options = Object.entries({ listen_addresses: '', unix_socket_directories: folder, port, ...settings })
    const started = spawn(join(bin ?? '', 'postgres'), ['-D', data, ...options.flatMap(([key, value]) => ['-c', `${key}=${value}`])], {
      ...how,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    server = started
    let log = ''
    for await (const chunk of started.stderr ?? []) {
      log += String(chunk)
      if (log.includes('ready to accept connections')) break
    }
    if (!log.includes('ready to accept connections')) throw new Error(`PostgreSQL did not start:\n${log}`)
    started.stderr?.resume()
  }

  /** SIGINT: sessions are ended, then it stops in order. SIGQUIT: at once. */
  async function stop(signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
    if (server === undefined || server.exitCode !== null) return
    const ended = once(server, 'exit')
    server.kill(signal)
    await ended
  }

  await start()
  const run = (database: string, statements: string): string => {
    const { status, stdout, stderr } = spawnSync(
      join(bin, 'psql'),
      ['-h', folder, '-p', port, '-U', 'postern', '-d', database, '-v', 'ON_ERROR_STOP=1', '-Atqc', statements],
      { encoding: 'utf8' },
    )
    if (status !== 0) throw new Error(stderr)
    return stdout.trim()
  }
  return {
    host: folder,
    createDatabase(name) {
      run('postgres', `CREATE DATABASE ${name}`)
      return `postgres://postern@localhost:${port}/${name}?host=${encodeURIComponent(folder)}`
    },
    emptyDatabase: (name) => void run(name, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public'),
    run,
    start,
    stop: () => stop('SIGINT'),
    crash: () => stop('SIGQUIT'),
    async close() {
      await stop('SIGQUIT')
      if (existsSync(folder)) rmSync(folder, { recursive: true, force: true })
    },
  }
}
