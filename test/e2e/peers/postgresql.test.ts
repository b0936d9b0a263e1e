/** PostgreSQL and its clients, unmodified, as opaque TCP through two sidecars. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { absent, acceptsConnections, findProgram, freePort, runProgram, startProgram } from '../../support/programs.ts'
import { runSidecarPair } from '../../support/sidecar-pair.ts'

/** PostgreSQL refuses to run as root: whoever is root lets the user that Debian made for it run it. */
function asServerUser(program: string, args: readonly string[]): readonly [string, readonly string[]] {
  const path = findProgram(program) ?? program
  return process.getuid?.() === 0 ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', path, ...args]] : [path, args]
}

const missing =
  absent('initdb', 'postgres', 'psql', 'pgbench') ||
  (process.getuid?.() === 0 && absent('setpriv')) ||
  (process.getuid?.() === 0 && spawnSync('id', ['postgres']).status !== 0 && 'there is no user `postgres` to run the server as')

interface Database extends AsyncDisposable {
  readonly port: number
}

async function startDatabase(): Promise<Database> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-pg-'))
  chmodSync(folder, 0o777)
  const data = join(folder, 'data')
  const [init, initArgs] = asServerUser('initdb', ['-D', data, '-U', 'tester', '-A', 'trust', '--no-sync', '--no-locale', '-E', 'UTF8'])
  const made = await runProgram(init, initArgs, { cwd: folder })
  assert.equal(made.status, 0, made.stderr)
  const port = await freePort()
  const options = ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', '', '-F', '-c', 'shared_buffers=16MB']
  const server = startProgram(...asServerUser('postgres', options), 'SIGINT')
  await acceptsConnections(port)
  return {
    port,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

test('psql and pgbench: queries, errors, COPY both ways, cancelled queries, many clients', { skip: missing }, async (t) => {
  await using database = await startDatabase()
  await using pair = await runSidecarPair(database.port, 'tcp')
  const env = {
    PGHOST: '127.0.0.1',
    PGPORT: String(pair.port),
    PGUSER: 'tester',
    PGDATABASE: 'postgres',
    PGSSLMODE: 'disable',
    PGCONNECT_TIMEOUT: '20',
  }
  const psql = (sql: string, stdin = '') => runProgram('psql', ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-c', sql], { env, stdin })

  // The server may not take queries for a moment after it takes connections.
  let first = await psql('select 1')
  for (let attempt = 0; attempt < 50 && first.stderr.includes('starting up'); attempt++) first = await psql('select 1')
  assert.equal(first.stdout, '1\n', first.stderr)
  assert.match((await psql('select 1/0')).stderr, /division by zero/)
  assert.equal((await psql(`select length(repeat('x', 20000000))`)).stdout, '20000000\n')
  const rows = Array.from({ length: 50_000 }, (_, index) => `${index}\tvalue ${index}\n`).join('')
  assert.equal((await psql('create table copied (id int, name text)')).status, 0)
  assert.equal((await psql('copy copied from stdin', rows)).status, 0)
  const out = await psql('copy (select * from copied order by id) to stdout')
  assert.ok(out.stdout === rows, `${out.stdout.length} of ${rows.length} bytes came back`)
  assert.match((await psql(`set statement_timeout = '200ms'; select pg_sleep(60)`)).stderr, /statement timeout/)

  const prepared = await runProgram('pgbench', ['-i', '-q', '-s', '1'], { env })
  assert.equal(prepared.status, 0, prepared.stderr)
  const bench = await runProgram('pgbench', ['-c', '8', '-j', '2', '-t', '20', '-M', 'prepared'], { env })
  assert.match(bench.stdout, /number of transactions actually processed: 160\/160/, bench.stdout + bench.stderr)
  t.diagnostic(/^tps = .*$/m.exec(bench.stdout)?.[0] ?? '')
  const reconnecting = await runProgram('pgbench', ['-c', '4', '-t', '10', '-C', '-S'], { env })
  assert.match(reconnecting.stdout, /40\/40/, reconnecting.stdout + reconnecting.stderr)
  const records = await pair.called.records()
  assert.deepEqual(new Set(records.map((record) => `${String(record['protocol'])} ${String(record['decision'])}`)), new Set(['tcp allow']))
})
