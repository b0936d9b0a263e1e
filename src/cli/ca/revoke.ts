/** `postern ca revoke`: takes a certificate, an identity or an authority out of trust. */
import { systemClock } from '#base/clock'
import type { CaConfig } from '#config/ca-config'
import type { RevocationRecord, Store } from '#ca/store/store'
import { parseSpiffeId } from '#identity/spiffe-id'
import { jsonOption } from '#certs-tooling/options'
import { jsonText, spanText } from '#certs-tooling/text'
import { parseArguments, usage } from '../arguments.ts'
import type { Command } from '../command.ts'
import { plainSerial } from './list.ts'
import { openCaStore, readCaConfig } from './open.ts'

export const revokeCommand: Command = {
  summary: 'takes a certificate, an identity or an authority out of trust',
  help: `Usage: postern ca revoke --config FILE (--serial HEX | --id SPIFFE_ID | --authority KEY_ID) [--reason TEXT] [--undo] [--output json]

Sidecars hear of it with their next poll, and cut what is live with whom it names.

  --config FILE       the document of the authority; it may be running
  --serial HEX        one certificate
  --id SPIFFE_ID      every certificate of an identity, those to come too, until --undo
  --authority KEY_ID  everything that an authority signed
  --reason TEXT       for whoever looks at it later
  --undo              takes the revocation of an identity back
  --output json       prints what was recorded

Example:
  postern ca revoke --config ca/ca.yaml --serial 4f2a… --reason 'key was on a stolen laptop'
`,
  async run(args, io) {
    const { values } = parseArguments(args, {
      config: { type: 'string' },
      serial: { type: 'string' },
      id: { type: 'string' },
      authority: { type: 'string' },
      reason: { type: 'string', default: '' },
      undo: { type: 'boolean', default: false },
      output: { type: 'string', default: 'text' },
    })
    const json = jsonOption(values.output)
    const named = [values.serial, values.id, values.authority].filter((value) => value !== undefined)
    if (named.length !== 1) throw usage('name one of `--serial`, `--id` and `--authority`.')
    const config = await readCaConfig(values.config, io)
    await using store = await openCaStore(config, 'tool', false)
    const record = { ...(await recordOf(store, config, values)), reason: values.reason, revokedAt: systemClock.now() }
    if (values.undo) {
      if (record.kind !== 'id') throw usage('`--undo` is for identities: a certificate or an authority that was revoked stays so.')
      if ((await store.withdraw(record)) === undefined) {
        io.stderr.write(`${record.value} was not revoked.\n`)
        return 1
      }
      io.stderr.write(`${record.value} may be given certificates again.\n`)
      return 0
    }
    const sequence = await store.revoke(record)
    if (json) io.stdout.write(jsonText({ ...record, until: Number.isFinite(record.until) ? record.until : null, sequence }))
    else io.stdout.write(`revoked ${record.kind} ${record.value}; it is in bundle ${sequence}\n`)
    if (!json) {
      io.stderr.write(
        `Sidecars hear of it within ${spanText(config.poll)} of the CA running; \`postern ca rotate status\` names who has not.\n`,
      )
    }
    return 0
  },
}

type Named = Omit<RevocationRecord, 'reason' | 'revokedAt'>

interface Names {
  readonly serial?: string | undefined
  readonly id?: string | undefined
  readonly authority?: string | undefined
}

async function recordOf(store: Store, config: CaConfig, { serial, id, authority }: Names): Promise<Named> {
  if (serial !== undefined) return certificate(store, plainSerial(serial))
  if (id !== undefined) {
    const parsed = parseSpiffeId(id)
    if (!parsed.ok) throw usage(`\`--id ${id}\` is not a SPIFFE ID: ${parsed.detail}.`)
    if (parsed.value.trustDomain !== config.trustDomain) throw usage(`\`--id ${id}\` is not of this authority's trust domain.`)
    return { kind: 'id', value: id, authority: '', until: Infinity }
  }
  const keyId = plainSerial(authority ?? '')
  const authorities = await store.authorities()
  const known = authorities.find((each) => each.kind === 'x509' && each.id === keyId)
  if (known === undefined) throw usage(`there is no X.509 authority \`${keyId}\`; \`postern ca rotate status\` lists them.`)
  if (known.state === 'active') {
    throw usage(
      `\`${keyId}\` signs now: rotate to another first (\`postern ca rotate prepare\`), then taint and revoke it, with --force if need be.`,
    )
  }
  return { kind: 'authority', value: known.id, authority: '', until: known.notAfter }
}

async function certificate(store: Store, serial: string): Promise<Named> {
  const [found] = await store.issuances({ serial, limit: 1 })
  if (found === undefined) throw usage(`no certificate with the serial \`${serial}\` was issued here; \`postern ca list\` lists them.`)
  if (found.kind === 'jwt') throw usage('a JWT-SVID is not revoked by itself, and ends within minutes: revoke the identity with `--id`.')
  return { kind: 'serial', value: serial, authority: found.authority, until: found.notAfter }
}
