/** `postern certs init`: makes an authority in a folder. */
import { join, resolve } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { parseArguments, usage } from '#cli/arguments'
import type { Command, CommandIo } from '#cli/command'
import { describeCertificate } from '#pki/inspect'
import { KEY_ALGORITHMS } from '#pki/keys'
import { certificatesOfPem } from '#pki/pem'
import { AUTHORITY_FILES, authorityFiles, filesPresent, makeAuthority, readAuthorityFolder } from './authority-folder.ts'
import { exists, makeFolder, readFile, writeFiles } from './files.ts'
import { jsonOption, keyAlgorithmOption, spanOption } from './options.ts'
import { columns, jsonText, mark, shellWord, timeText } from './text.ts'

const OPTIONS = {
  'trust-domain': { type: 'string' },
  'root-ttl': { type: 'string', default: '3650d' },
  'intermediate-ttl': { type: 'string', default: '365d' },
  'key-algorithm': { type: 'string', default: 'P-256' },
  'dry-run': { type: 'boolean', default: false },
  force: { type: 'boolean', default: false },
  output: { type: 'string', default: 'text' },
} as const

export function initCommand(clock: Clock): Command {
  return {
    summary: 'makes an authority in a folder',
    help: `postern certs init: makes an authority in a folder: a root, an intermediate, and the trust bundle

Usage: postern certs init DIR --trust-domain TD [options]

  --trust-domain TD        the trust domain, as in example.org; it cannot be changed later
  --root-ttl SPAN          life of the root (3650d)
  --intermediate-ttl SPAN  life of the intermediate, which signs; never beyond the root's (365d)
  --key-algorithm KIND     ${KEY_ALGORITHMS.join(', ')} (P-256)
  --dry-run                says what would be written, and writes nothing
  --force                  replaces an authority that is there: every certificate it signed is refused from then on
  --output json            prints what was written as JSON

Run again on the same folder, it changes nothing. \`postern ca run\` can take the folder over.

Example:
  postern certs init ca --trust-domain example.org
`,
    run: async (args, io) => init(args, io, clock),
  }
}

interface Outcome {
  readonly created: boolean
  readonly trustDomain: string
  readonly folder: string
  readonly rootFingerprint: string
  readonly rootNotAfter: number
  readonly intermediateNotAfter: number
  readonly files: readonly { readonly path: string; readonly what: string }[]
}

const WHAT: Readonly<Record<string, string>> = {
  [AUTHORITY_FILES.rootKey]: 'private key of the root (0600): keep a copy offline, then remove it here',
  [AUTHORITY_FILES.root]: 'certificate of the root',
  [AUTHORITY_FILES.intermediateKey]: 'private key of the intermediate (0600), which signs',
  [AUTHORITY_FILES.intermediate]: 'certificate of the intermediate',
  [AUTHORITY_FILES.bundlePem]: 'trust bundle for verifiers, PEM',
  [AUTHORITY_FILES.bundleJson]: 'trust bundle for verifiers, SPIFFE JWKS',
}

async function init(args: readonly string[], io: CommandIo, clock: Clock): Promise<0> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'DIR', min: 1, max: 1 })
  const shown = positionals[0] ?? ''
  const trustDomain = values['trust-domain']
  if (trustDomain === undefined) throw usage('`--trust-domain` is missing: name the trust domain, as in `--trust-domain example.org`.')
  const json = jsonOption(values.output)
  const folder = resolve(io.cwd, shown)
  const present = filesPresent(folder)
  if (present.length > 0 && !values.force) {
    report(existing(folder, shown, trustDomain, present), shown, io, json)
    return 0
  }
  const made = await makeAuthority({
    trustDomain,
    now: clock.now(),
    rootTtl: spanOption('--root-ttl', values['root-ttl']),
    intermediateTtl: spanOption('--intermediate-ttl', values['intermediate-ttl']),
    keyAlgorithm: keyAlgorithmOption(values['key-algorithm']),
  })
  const files = authorityFiles(folder, made)
  if (values['dry-run']) {
    io.stderr.write(
      `Would write, for ${trustDomain}:\n${columns(
        files.map(({ path }) => [path, whatIs(path)]),
        '  ',
      )}Nothing was written.\n`,
    )
    return 0
  }
  if (!exists(folder)) makeFolder(folder)
  writeFiles(files)
  report(outcome(folder, made.root.certificate, made.intermediate.certificate, trustDomain, true), shown, io, json)
  return 0
}

/** What is there already, if it is a whole authority of the same trust domain. @throws ERR_AUTHORITY_EXISTS */
function existing(folder: string, shown: string, trustDomain: string, present: readonly string[]): Outcome {
  const missing = Object.values(AUTHORITY_FILES).filter((name) => !present.includes(name) && name !== AUTHORITY_FILES.rootKey)
  if (missing.length > 0) {
    throw refuse(`${shown} holds parts of an authority (${present.join(', ')}; no ${missing.join(', ')})`)
  }
  const { signer } = readAuthorityFolder(folder, shown)
  if (signer.trustDomain !== trustDomain) throw refuse(`${shown} holds the authority of another trust domain, \`${signer.trustDomain}\``)
  const [root] = certificatesOfPem(readFile(join(folder, AUTHORITY_FILES.root)).toString('utf8'))
  return outcome(folder, root ?? signer.root, signer.certificate, trustDomain, false)
}

function refuse(what: string): PosternError {
  return new PosternError('ERR_AUTHORITY_EXISTS', `${what}. Choose another folder, or add --force to replace it.`)
}

function outcome(folder: string, root: Buffer, intermediate: Buffer, trustDomain: string, created: boolean): Outcome {
  const described = describeCertificate(root)
  return {
    created,
    trustDomain,
    folder,
    rootFingerprint: described.fingerprint,
    rootNotAfter: described.notAfter,
    intermediateNotAfter: describeCertificate(intermediate).notAfter,
    files: filesPresent(folder).map((name) => ({ path: join(folder, name), what: whatIs(name) })),
  }
}

function whatIs(path: string): string {
  return WHAT[path.slice(path.lastIndexOf('/') + 1)] ?? ''
}

function report(result: Outcome, shown: string, io: CommandIo, json: boolean): void {
  if (json) {
    const { rootNotAfter, intermediateNotAfter, ...rest } = result
    const times = { rootNotAfter: timeText(rootNotAfter), intermediateNotAfter: timeText(intermediateNotAfter) }
    io.stdout.write(jsonText({ ...rest, ...times }))
    return
  }
  const dir = shellWord(shown)
  const rows = result.files.map(({ path, what }) => [join(shown, path.slice(path.lastIndexOf('/') + 1)), what] as const)
  io.stdout.write(
    result.created
      ? columns(rows, `${mark('√', io)} `)
      : `${mark('√', io)} ${shown} already holds the authority of ${result.trustDomain}; nothing was changed.\n`,
  )
  io.stdout.write(
    `\n${columns([
      ['root fingerprint', `${result.rootFingerprint} (SHA-256)`],
      ['root until', timeText(result.rootNotAfter)],
      ['intermediate until', timeText(result.intermediateNotAfter)],
    ])}`,
  )
  io.stderr.write(`
Next:
  postern certs issue ${dir} --id spiffe://${result.trustDomain}/ns/shop/sa/cart --out cart
  postern certs verify cart/svid.pem --bundle ${shellWord(join(shown, AUTHORITY_FILES.bundlePem))}
  postern certs inspect cart/svid.pem
`)
}
