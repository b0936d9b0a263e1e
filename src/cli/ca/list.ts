/** `postern ca list`: what was issued, newest first. */
import { systemClock } from '#base/clock'
import { jsonOption } from '#certs-tooling/options'
import { jsonText, timeText } from '#certs-tooling/text'
import type { Issuance } from '#ca/store/store'
import { parseArguments, usage } from '../arguments.ts'
import type { Command } from '../command.ts'
import { openCaStore, readCaConfig } from './open.ts'
import { table } from './table.ts'

export const listCommand: Command = {
  summary: 'what was issued',
  help: `Usage: postern ca list --config FILE [--id SPIFFE_ID] [--serial HEX] [--valid] [--limit N] [--before SERIAL] [--output json]

Lists what the authority issued, newest first: to whom, when, until when, and how they proved who they are.

  --config FILE     the document of the authority; it may be running
  --id SPIFFE_ID    only of this identity
  --serial HEX      only this certificate (colons are ignored)
  --valid           only what is valid now
  --limit N         how many (50, at most 10000)
  --before SERIAL   the page after the one that ended with this serial
  --output json     prints all that is recorded

Example:
  postern ca list --config ca/ca.yaml --id spiffe://example.org/ns/shop/sa/cart --valid
`,
  async run(args, io) {
    const { values } = parseArguments(args, {
      config: { type: 'string' },
      id: { type: 'string' },
      serial: { type: 'string' },
      valid: { type: 'boolean', default: false },
      limit: { type: 'string', default: '50' },
      before: { type: 'string' },
      output: { type: 'string', default: 'text' },
    })
    const json = jsonOption(values.output)
    const limit = /^\d{1,5}$/.test(values.limit) ? Number(values.limit) : 0
    if (limit < 1 || limit > 10_000) throw usage(`\`--limit ${values.limit}\` is not a number from 1 to 10000.`)
    await using store = await openCaStore(await readCaConfig(values.config, io), 'tool', false)
    const now = systemClock.now()
    const found = await store.issuances({
      limit,
      ...(values.id !== undefined && { spiffeId: values.id }),
      ...(values.serial !== undefined && { serial: plainSerial(values.serial) }),
      ...(values.valid && { validAt: now }),
      ...(values.before !== undefined && { before: plainSerial(values.before) }),
    })
    if (json) io.stdout.write(jsonText(found.map(toJson)))
    else
      io.stdout.write(
        table(
          ['ISSUED', 'ID', 'KIND', 'UNTIL', 'PROVED BY', 'SERIAL'],
          found.map((each) => row(each, now)),
        ),
      )
    const last = found.at(-1)
    if (!json && last !== undefined && found.length === limit) io.stderr.write(`There may be more: --before ${last.serial}\n`)
    return 0
  },
}

/** As other tools print it, to how it is kept. The serials of JWT-SVIDs have dashes. */
export function plainSerial(text: string): string {
  return text.replaceAll(':', '').toLowerCase()
}

function row({ issuedAt, spiffeId, kind, notAfter, evidence, serial }: Issuance, now: number): readonly string[] {
  return [timeText(issuedAt), spiffeId, kind, notAfter <= now ? `${timeText(notAfter)} (over)` : timeText(notAfter), evidence, serial]
}

function toJson({ kind, serial, spiffeId, authority, attestedBy, evidence, keyHash, notBefore, notAfter, issuedAt }: Issuance): object {
  return {
    kind,
    serial,
    id: spiffeId,
    authority,
    attested_by: attestedBy,
    evidence,
    key_hash: keyHash,
    issued_at: timeText(issuedAt),
    not_before: timeText(notBefore),
    not_after: timeText(notAfter),
  }
}
