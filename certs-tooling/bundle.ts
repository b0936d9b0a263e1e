/** `postern certs bundle`: makes the trust bundle of one trust domain, as PEM or as SPIFFE JWKS. */
import { resolve } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { isTrustDomain } from '#identity/spiffe-id'
import { parseArguments, usage } from '#cli/arguments'
import type { Command, CommandIo } from '#cli/command'
import { type Bundle, readBundle, type Root } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { REFRESH_HINT } from './authority-folder.ts'
import { exists, readInput, writeFiles } from './files.ts'
import { spanOption } from './options.ts'
import { mark, printable, timeText } from './text.ts'
import { trustDomainOf } from './verdict.ts'

const OPTIONS = {
  to: { type: 'string' },
  out: { type: 'string', default: '-' },
  'trust-domain': { type: 'string' },
  sequence: { type: 'string' },
  'refresh-hint': { type: 'string' },
  force: { type: 'boolean', default: false },
} as const

export function bundleCommand(clock: Clock): Command {
  return {
    summary: 'makes a trust bundle, as PEM or as SPIFFE JWKS',
    help: `postern certs bundle: makes the trust bundle of one trust domain, as PEM or as SPIFFE JWKS

Usage: postern certs bundle FILE… --to jwks|pem [options]

  FILE                 root certificates as PEM, or SPIFFE bundles (JWKS), all of one trust domain; - is standard input
  --to FORM            jwks: a SPIFFE bundle · pem: the X.509 authorities alone
  --out FILE           where it goes (standard output)
  --trust-domain TD    whose roots they are, where they do not name it themselves
  --sequence N         version of a SPIFFE bundle (one more than the highest that was read, or 1)
  --refresh-hint SPAN  how often to ask for a newer one (what was read, or 5m)
  --force              replaces the output file even if it is not one of those read

Bundles of different trust domains are never merged: each has its own file.

Example:
  postern certs bundle ca/root.pem new-ca/root.pem --to jwks --refresh-hint 5m --out bundle.json
`,
    run: async (args, io) => bundle(args, io, clock),
  }
}

async function bundle(args: readonly string[], io: CommandIo, clock: Clock): Promise<0> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'FILE…', min: 1 })
  const { to, out } = values
  if (to !== 'jwks' && to !== 'pem') throw usage(`\`--to\` ${to === undefined ? 'is missing' : `takes no \`${to}\``}: choose jwks or pem.`)
  const path = resolve(io.cwd, out)
  if (out !== '-' && !values.force && exists(path) && !positionals.some((file) => resolve(io.cwd, file) === path)) {
    throw new PosternError('ERR_FILE_EXISTS', `${out} exists and is none of the files read: name another, or add --force to replace it.`)
  }
  const given = values['trust-domain']
  if (given !== undefined && !isTrustDomain(given))
    throw usage(`\`--trust-domain ${given}\` is not a trust domain: write one as in example.org.`)
  const bundles = await readAll(positionals, given, io)
  const roots = new Map(bundles.flatMap((each) => each.roots).map((root) => [root.fingerprint, root]))
  const jwtKeys = mergeJwtKeys(bundles)
  warn([...roots.values()], clock.now(), io)
  if (to === 'pem' && jwtKeys.length > 0) {
    io.stderr.write(`${mark('‼', io)} PEM holds no JWT keys: ${jwtKeys.length} of them ${jwtKeys.length === 1 ? 'is' : 'are'} left out.\n`)
  }
  const content =
    to === 'pem'
      ? [...roots.values()].map((root) => root.pem).join('')
      : bundleDocument({
          authorities: [...roots.values()].map((root) => root.der),
          jwtKeys,
          sequence: sequenceOption(values.sequence, bundles),
          refreshHint: refreshHintOption(values['refresh-hint'], bundles),
        })
  if (out === '-') {
    io.stdout.write(content)
    return 0
  }
  writeFiles([{ path, content, mode: 0o644 }])
  io.stderr.write(
    `${mark('√', io)} ${out}: ${roots.size} ${roots.size === 1 ? 'authority' : 'authorities'} of ${bundles[0]?.trustDomain ?? ''}\n`,
  )
  return 0
}

async function readAll(files: readonly string[], given: string | undefined, io: CommandIo): Promise<readonly Bundle[]> {
  const bundles: Bundle[] = []
  for (const file of files) {
    const bytes = await readInput(file, io)
    const trustDomain = given ?? (await trustDomainOf(bytes, file))
    const [first] = bundles
    if (first !== undefined && first.trustDomain !== trustDomain) {
      throw new PosternError(
        'ERR_BUNDLE_AUTHORITY',
        `${files[0] ?? ''} is of ${first.trustDomain} and ${file} of ${trustDomain}: keep one bundle for each, they are never merged.`,
      )
    }
    bundles.push(readBundle(bytes.toString('utf8'), trustDomain, file))
  }
  return bundles
}

/** By `kid`; two different keys of one `kid` could not be told apart by whoever verifies. */
function mergeJwtKeys(bundles: readonly Bundle[]): readonly Readonly<Record<string, unknown>>[] {
  const keys = new Map<string, Readonly<Record<string, unknown>>>()
  for (const key of bundles.flatMap((each) => each.jwtKeys)) {
    const kid = String(key['kid'])
    const known = keys.get(kid)
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(key)) {
      throw new PosternError('ERR_BUNDLE_MALFORMED', `Two different JWT keys have the kid \`${printable(kid)}\`: give each its own.`)
    }
    keys.set(kid, key)
  }
  return [...keys.values()]
}

function warn(roots: readonly Root[], now: number, io: CommandIo): void {
  for (const { facts, fingerprint } of roots) {
    const { notAfter } = facts.certificate
    if (notAfter <= now)
      io.stderr.write(`${mark('‼', io)} The authority ${fingerprint} ended at ${timeText(notAfter)}: what it signed is refused already.\n`)
  }
}

const LAST_SEQUENCE = 2n ** 64n - 1n

function sequenceOption(text: string | undefined, bundles: readonly Bundle[]): bigint {
  const read = bundles.flatMap(({ sequence }) => (sequence === undefined ? [] : [sequence]))
  const highest = read.reduce((most, each) => (each > most ? each : most), 0n)
  if (text === undefined) return highest + 1n
  if (!/^\d{1,20}$/.test(text) || BigInt(text) > LAST_SEQUENCE)
    throw usage(`\`--sequence ${text}\`: write a whole number of at most 64 bits.`)
  if (BigInt(text) <= highest) {
    throw usage(
      `\`--sequence ${text}\`: what was read has ${highest} already; a changed bundle needs a greater one, or nobody takes it up.`,
    )
  }
  return BigInt(text)
}

function refreshHintOption(text: string | undefined, bundles: readonly Bundle[]): number {
  if (text !== undefined) {
    const span = spanOption('--refresh-hint', text)
    if (span % 1000 !== 0) throw usage(`\`--refresh-hint ${text}\`: write whole seconds.`)
    return span / 1000
  }
  const read = bundles.flatMap(({ refreshHintSeconds }) => (refreshHintSeconds === undefined ? [] : [refreshHintSeconds]))
  return read.length === 0 ? REFRESH_HINT : Math.min(...read)
}
