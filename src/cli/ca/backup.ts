/** `postern ca backup`: a copy of the SQLite store, made while the authority runs. */
import { resolve } from 'node:path'
import { parseArguments, usage } from '../arguments.ts'
import type { Command } from '../command.ts'
import { readCaConfig } from './open.ts'

export const backupCommand: Command = {
  summary: 'copies the SQLite store',
  help: `Usage: postern ca backup --config FILE --out FILE

Copies the SQLite store as of one moment, while the authority may be running, and checks every page of the copy. The keys
(\`spec.keys\`) are not in it: keep a copy of them apart, where fewer people come. docs/ca-operations.md says more.

  --config FILE     the document of the authority
  --out FILE        the copy; it must not be there yet

Example:
  postern ca backup --config ca/ca.yaml --out /backup/ca-2026-11-24.db
`,
  async run(args, io) {
    const { values } = parseArguments(args, { config: { type: 'string' }, out: { type: 'string' } })
    const { store } = await readCaConfig(values.config, io)
    if (values.out === undefined) throw usage('`--out FILE` is missing: where the copy is to be.')
    if (store.kind !== 'sqlite')
      throw usage('this authority is on PostgreSQL: copy the database with `pg_dump`, as docs/ca-operations.md says.')
    const { backUp, checkBackup } = await import('#ca/store/sqlite-backup')
    const path = resolve(io.cwd, values.out)
    await backUp(store.file, path)
    checkBackup(path)
    io.stderr.write(`${path} is a copy of ${store.file}, and sound.\n`)
    return 0
  },
}
