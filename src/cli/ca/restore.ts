/** `postern ca restore`: a backup in the place of the SQLite store. */
import { resolve } from 'node:path'
import { systemClock } from '#base/clock'
import { jsonOption } from '#certs-tooling/options'
import { jsonText } from '#certs-tooling/text'
import { parseArguments, usage } from '../arguments.ts'
import type { Command } from '../command.ts'
import { readCaConfig } from './open.ts'

export const restoreCommand: Command = {
  summary: 'puts a backup in the place of the SQLite store',
  help: `Usage: postern ca restore --config FILE --from FILE [--output json]

Checks the backup, puts it in the place of the store of an authority that is stopped, and keeps the store that was there. What the backup
cannot know is taken care of: join tokens that were unused in it are void, as they may have been used since, and the bundle gets a sequence
above every one that was published. What was revoked since the backup has to be revoked again.

  --config FILE     the document of the authority
  --from FILE       what \`postern ca backup\`, or \`sqlite3 ca.db ".backup …"\`, made
  --output json     prints what was done as JSON

Example:
  postern ca restore --config ca/ca.yaml --from /backup/ca-2026-11-24.db
`,
  async run(args, io) {
    const { values } = parseArguments(args, {
      config: { type: 'string' },
      from: { type: 'string' },
      output: { type: 'string', default: 'text' },
    })
    const json = jsonOption(values.output)
    const { store } = await readCaConfig(values.config, io)
    if (values.from === undefined) throw usage('`--from FILE` is missing: the backup.')
    if (store.kind !== 'sqlite')
      throw usage('this authority is on PostgreSQL: restore the database with `pg_restore`, as docs/ca-operations.md says.')
    const { restoreBackup } = await import('#ca/store/sqlite-backup')
    const found = restoreBackup({ backup: resolve(io.cwd, values.from), file: store.file, now: systemClock.now() })
    if (json) {
      const { issuances, sequence, voidedTokens, kept } = found
      io.stdout.write(jsonText({ issuances, sequence, voided_tokens: voidedTokens, kept: kept ?? null }))
      return 0
    }
    io.stderr.write(`${store.file} holds ${found.issuances} issuances; the bundle's sequence is ${found.sequence}.\n`)
    if (found.voidedTokens > 0) io.stderr.write(`${found.voidedTokens} join tokens are void: make those anew that are still wanted.\n`)
    if (found.kept !== undefined) io.stderr.write(`The store that was there is kept as ${found.kept}.\n`)
    io.stderr.write('What was revoked since the backup must be revoked again; then start the authority.\n')
    return 0
  },
}
