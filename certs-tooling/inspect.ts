/** `postern certs inspect`: says what a file holds, for people and for scripts. Never shows a private key. */
import type { Clock } from '#base/clock'
import { parseArguments } from '#cli/arguments'
import type { Command, CommandIo } from '#cli/command'
import { recognise, certificatesOf } from './content.ts'
import { describeItems, type ItemReport } from './describe.ts'
import { readInput } from './files.ts'
import { jsonOption, PASSWORD_OPTIONS, passwordOption } from './options.ts'
import { inspectionText, shortText } from './inspection-text.ts'
import { jsonText, timeText } from './text.ts'
import { explainReason, judge, readTrust, type Verdict } from './verdict.ts'

const OPTIONS = {
  short: { type: 'boolean', default: false },
  bundle: { type: 'string' },
  'trust-domain': { type: 'string' },
  ...PASSWORD_OPTIONS,
  output: { type: 'string', default: 'text' },
} as const

export function inspectCommand(clock: Clock): Command {
  return {
    summary: 'says what a file holds: certificates, keys, requests, bundles',
    help: `postern certs inspect: says what a file holds

Usage: postern certs inspect FILE [options]

  FILE                  certificates, a key, a request, a revocation list or a bundle, as PEM, DER, PKCS#12 or JWKS;
                        - is standard input
  --short               one line for each thing in it
  --bundle FILE         says too whether a sidecar with these authorities would accept the chain
  --trust-domain TD     whose bundle that is, where its authorities do not name one
  --password-file FILE  password of PKCS#12 and of encrypted keys: the first line of this file
  --password-env NAME   or the value of this environment variable
  --output json         prints it all as JSON

Nothing is verified here but with --bundle; \`postern certs verify\` gives verdicts. Private keys are never shown.

Example:
  postern certs inspect cart/svid.pem
`,
    run: async (args, io) => inspect(args, io, clock),
  }
}

/** All that is said of one file. */
export interface Inspection {
  readonly file: string
  readonly format: string
  readonly items: readonly ItemReport[]
  readonly sequence: bigint | undefined
  readonly refreshHintSeconds: number | undefined
  readonly verdict: Verdict | undefined
}

async function inspect(args: readonly string[], io: CommandIo, clock: Clock): Promise<0> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'FILE', min: 1, max: 1 })
  const file = positionals[0] ?? ''
  const json = jsonOption(values.output)
  const now = clock.now()
  const content = await recognise(await readInput(file, io), file, passwordOption(values, io))
  const chain = certificatesOf(content)
  const trust = values.bundle === undefined || chain.length === 0 ? undefined : await readTrust(values.bundle, values['trust-domain'], io)
  const inspection: Inspection = {
    file,
    format: content.format,
    items: describeItems(content.items),
    sequence: content.sequence,
    refreshHintSeconds: content.refreshHintSeconds,
    verdict: trust === undefined ? undefined : judge(chain, trust, now),
  }
  if (json) io.stdout.write(jsonText(asJson(inspection, now)))
  else io.stdout.write(values.short ? shortText(inspection, now) : inspectionText(inspection, now, io))
  return 0
}

function asJson({ items, verdict, sequence, ...rest }: Inspection, now: number): object {
  return {
    ...rest,
    // As text: a number of JavaScript cannot hold 64 bits.
    ...(sequence !== undefined && { sequence: String(sequence) }),
    items: items.map((item) => itemJson(item, now)),
    verified: verdict !== undefined,
    ...(verdict !== undefined && { verdict: verdictJson(verdict) }),
  }
}

function itemJson(item: ItemReport, now: number): object {
  if (item.kind === 'certificate') {
    const { notBefore, notAfter, ...rest } = item
    return { ...rest, notBefore: timeText(notBefore), notAfter: timeText(notAfter), secondsLeft: Math.floor((notAfter - now) / 1000) }
  }
  if (item.kind !== 'revocation list') return item
  const { thisUpdate, nextUpdate, ...rest } = item
  return { ...rest, thisUpdate: timeText(thisUpdate), ...(nextUpdate !== undefined && { nextUpdate: timeText(nextUpdate) }) }
}

function verdictJson({ validUntil, reason, ...verdict }: Verdict): object {
  return reason === undefined ? { ...verdict, validUntil: timeText(validUntil ?? NaN) } : { ...verdict, reason, ...explainReason(reason) }
}
