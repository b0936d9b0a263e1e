/** `postern certs verify`: says whether certificates would be accepted, and if not, why. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { parseArguments, usage } from '#cli/arguments'
import type { Command, CommandIo, ExitStatus } from '#cli/command'
import type { TrustStore } from '#pki/trust-store'
import { certificatesOf, recognise } from './content.ts'
import { readInput } from './files.ts'
import { jsonOption, PASSWORD_OPTIONS, passwordOption } from './options.ts'
import { jsonText, mark, printable, spanText, timeText } from './text.ts'
import { explainReason, judge, readTrust, type Verdict } from './verdict.ts'

const OPTIONS = {
  bundle: { type: 'string' },
  'trust-domain': { type: 'string' },
  at: { type: 'string' },
  ...PASSWORD_OPTIONS,
  output: { type: 'string', default: 'text' },
} as const

export function verifyCommand(clock: Clock): Command {
  return {
    summary: 'says whether certificates would be accepted, and if not, why',
    help: `postern certs verify: says whether certificates would be accepted, and if not, why

Usage: postern certs verify FILE… --bundle FILE [options]

  FILE                  a chain, leaf first: PEM, DER or PKCS#12; - is standard input
  --bundle FILE         the authorities to trust: PEM, or SPIFFE JWKS
  --trust-domain TD     whose bundle it is, where its authorities do not name one
  --at TIME             judges as of this time, as in 2026-12-24T18:00:00Z
  --password-file FILE  password of PKCS#12 files: the first line of this file
  --password-env NAME   or the value of this environment variable
  --output json         prints the verdicts as JSON

The judgement is the sidecar's own, for both directions. Exit status: 0 all accepted, 1 one refused, 2 one not readable.

Example:
  postern certs verify cart/svid.pem --bundle ca/bundle.pem
`,
    run: async (args, io) => verify(args, io, clock),
  }
}

type FileVerdict = Verdict & { readonly file: string }

async function verify(args: readonly string[], io: CommandIo, clock: Clock): Promise<ExitStatus> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'FILE…', min: 1 })
  if (values.bundle === undefined) throw usage('`--bundle` is missing: name the file with the authorities to trust.')
  const json = jsonOption(values.output)
  const now = values.at === undefined ? clock.now() : timeOption(values.at)
  const password = passwordOption(values, io)
  const trust = await readTrust(values.bundle, values['trust-domain'], io)
  const verdicts: FileVerdict[] = []
  let unreadable = false
  for (const file of positionals) {
    try {
      verdicts.push({ file, ...judge(await chainOf(file, password, io), trust, now) })
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      unreadable = true
      io.stderr.write(`postern: ${file}: ${error.message} (${error.code})\n`)
    }
  }
  if (json) io.stdout.write(jsonText({ at: timeText(now), verdicts: verdicts.map(asJson) }))
  else io.stdout.write(verdicts.map((verdict) => asText(verdict, now, trust, io)).join(''))
  if (unreadable) return 2
  return verdicts.every((verdict) => verdict.accepted) ? 0 : 1
}

async function chainOf(file: string, password: string | undefined, io: CommandIo): Promise<Buffer[]> {
  const content = await recognise(await readInput(file, io), file, password)
  const chain = certificatesOf(content)
  if (chain.length === 0)
    throw new PosternError('ERR_FILE_KIND', `it holds no certificate, but: ${content.items.map((item) => item.kind).join(', ')}.`)
  return chain
}

function asJson({ validUntil, reason, ...verdict }: FileVerdict): object {
  if (reason === undefined) return { ...verdict, validUntil: timeText(validUntil ?? NaN) }
  return { ...verdict, reason, ...explainReason(reason) }
}

function asText(verdict: FileVerdict, now: number, trust: TrustStore, io: CommandIo): string {
  const id = verdict.id === '' ? '' : `  ${printable(verdict.id)}`
  if (verdict.reason === undefined) {
    return `${mark('√', io)} ${verdict.file}${id}  accepted in ${trust.ownTrustDomain}, for ${spanText((verdict.validUntil ?? now) - now)} more\n`
  }
  const { what, remedy } = explainReason(verdict.reason)
  const detail = verdict.detail === '' ? '' : `  ${printable(verdict.detail)}\n`
  return `${mark('×', io)} ${verdict.file}${id}  refused: ${verdict.reason}\n  ${what}\n${detail}  ${remedy}\n`
}

function timeOption(text: string): number {
  const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})$/.test(text) ? Date.parse(text) : NaN
  if (Number.isNaN(time)) throw usage(`\`--at ${text}\`: write a time as in 2026-12-24T18:00:00Z.`)
  return time
}
