/** A PgBouncer of a test's own, from Debian's package, before a PostgreSQL of `startPostgres`. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { postgresUser } from './postgres-cluster.ts'

const PROGRAM = '/usr/sbin/pgbouncer'

/** Why there is none on this machine; false where there is. */
export const NO_PGBOUNCER: string | false = existsSync(PROGRAM)
  ? false
  : 'there is no PgBouncer here (Debian and Ubuntu: `apt-get install pgbouncer`)'

export interface PgBouncer extends AsyncDisposable {
  /** The URL of a database of the server behind it, through it. */
  url(database: string): string
}

const live = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of live) child.kill('SIGKILL')
})

/** @param host folder of the server's socket @param settings of pgbouncer.ini */
export async function startPgBouncer(host: string, settings: Readonly<Record<string, string>>): Promise<PgBouncer> {
  const user = postgresUser()
  const folder = mkdtempSync(join(tmpdir(), 'pgbouncer-'))
  const own = (path: string): void => user && chownSync(path, user.uid, user.gid)
  own(folder)
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    own(path)
    return path
  }
  const lines = Object.entries({
    listen_addr: '',
    listen_port: '6432',
    unix_socket_dir: folder,
    auth_type: 'trust',
    auth_file: file('users', '"postern" ""\n'),
    ...settings,
  }).map(([key, value]) => `${key} = ${value}`)
  const config = file('pgbouncer.ini', `[databases]\n* = host=${host} port=5432\n[pgbouncer]\n${lines.join('\n')}\n`)
  const child = spawn(PROGRAM, [config], { ...user, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  live.add(child)
  const exited = once(child, 'exit').then(() => void live.delete(child))
  const said: string[] = []
  const up = new Promise<void>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line)
      if (line.includes('process up')) resolve()
    })
  })
  await Promise.race([up, exited])
  if (child.exitCode !== null) throw new Error(`PgBouncer did not start:\n${said.join('\n')}`)
  return {
    url: (database) => `postgres://postern@localhost:6432/${database}?host=${encodeURIComponent(folder)}`,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
