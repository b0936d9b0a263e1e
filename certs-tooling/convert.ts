/** `postern certs convert`: certificates and keys between PEM, DER and PKCS#12. */
import { hash, type KeyObject, X509Certificate } from 'node:crypto'
import { resolve } from 'node:path'
import { PosternError } from '#base/errors'
import { parseArguments, usage } from '#cli/arguments'
import type { Command, CommandIo } from '#cli/command'
import { privateKeyPem, spkiOf } from '#pki/keys'
import { certificatesPem } from '#pki/pem'
import { certificatesOf, recognise } from './content.ts'
import { exists, readInput, writeFiles } from './files.ts'
import { PASSWORD_OPTIONS, passwordOption } from './options.ts'
import { mark } from './text.ts'

const OPTIONS = {
  to: { type: 'string' },
  out: { type: 'string' },
  only: { type: 'string' },
  name: { type: 'string', default: 'svid' },
  ...PASSWORD_OPTIONS,
  force: { type: 'boolean', default: false },
} as const

const SELECTIONS = ['leaf', 'certificates', 'key'] as const

type Selection = (typeof SELECTIONS)[number]

export function convertCommand(): Command {
  return {
    summary: 'converts certificates and keys between PEM, DER and PKCS#12',
    help: `postern certs convert: converts certificates and keys between PEM, DER and PKCS#12

Usage: postern certs convert FILE… --to pem|der|p12 --out FILE [options]

  FILE                  certificates and at most one private key, in any of the forms; - is standard input
  --to FORM             p12: a key with its chain, or without a key the certificates as trusted ones, for Java
                        pem: the certificates, then the key as unencrypted PKCS#8 · der: one certificate, or one key
  --out FILE            - is standard output; a file with a key in it gets mode 0600
  --only WHAT           leaf, certificates or key: takes only these
  --name NAME           what PKCS#12 calls the entry: Java's alias (svid)
  --password-file FILE  password of what is read and of the PKCS#12 that is written: the first line of this file
  --password-env NAME   or the value of this environment variable
  --force               replaces the output file if it exists

Example:
  postern certs convert cart/svid.pem cart/key.pem --to p12 --out cart.p12 --password-file password
`,
    run: convert,
  }
}

/** What was read of all files: leaf first where the key tells which it is. */
interface Material {
  readonly certificates: readonly Buffer[]
  readonly key: KeyObject | undefined
}

async function convert(args: readonly string[], io: CommandIo): Promise<0> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'FILE…', min: 1 })
  const { to, out, only } = values
  if (to !== 'pem' && to !== 'der' && to !== 'p12')
    throw usage(`\`--to\` ${to === undefined ? 'is missing' : `takes no \`${to}\``}: choose pem, der or p12.`)
  if (out === undefined) throw usage('`--out` is missing: name the file to write, or - for standard output.')
  const path = resolve(io.cwd, out)
  if (out !== '-' && !values.force && exists(path))
    throw new PosternError('ERR_FILE_EXISTS', `${out} exists: name another file, or add --force to replace it.`)
  const password = passwordOption(values, io)
  const material = select(await readAll(positionals, password, io), selectionOption(only))
  const content = to === 'p12' ? await asPkcs12(material, password, values.name) : to === 'pem' ? asPem(material) : asDer(material)
  if (out === '-') {
    io.stdout.write(content)
    return 0
  }
  writeFiles([{ path, content, mode: material.key === undefined ? 0o644 : 0o600 }])
  io.stderr.write(`${mark('√', io)} ${out}: ${sayWhat(material)}\n`)
  return 0
}

async function readAll(files: readonly string[], password: string | undefined, io: CommandIo): Promise<Material> {
  const keys = new Map<string, KeyObject>()
  const certificates = new Map<string, Buffer>()
  for (const file of files) {
    const content = await recognise(await readInput(file, io), file, password)
    for (const der of certificatesOf(content)) certificates.set(hash('sha256', der, 'hex'), der)
    for (const item of content.items) {
      if (item.kind === 'private key' && item.key === undefined) {
        throw new PosternError(
          'ERR_PASSWORD_MISSING',
          `The private key in ${file} is encrypted: give its password with --password-file FILE or --password-env NAME.`,
        )
      }
      if (item.kind === 'private key' && item.key !== undefined) keys.set(hash('sha256', spkiOf(item.key), 'hex'), item.key)
      if (item.kind !== 'private key' && item.kind !== 'certificate') {
        throw new PosternError(
          'ERR_FILE_KIND',
          `${file} holds a ${item.kind === 'unknown' ? item.label : item.kind}, which is not converted: give certificates and a private key.`,
        )
      }
    }
  }
  if (keys.size > 1)
    throw new PosternError('ERR_FILE_KIND', `There are ${keys.size} private keys in what was given: give one, with its certificates.`)
  const [key] = keys.values()
  return { key, certificates: leafFirst([...certificates.values()], key) }
}

/** The key's own certificate first and then each one's issuer, as TLS sends them; what is left keeps its order. */
function leafFirst(certificates: readonly Buffer[], key: KeyObject | undefined): readonly Buffer[] {
  if (key === undefined || certificates.length === 0) return certificates
  const left = certificates.map((der) => ({ der, x509: parseCertificate(der) }))
  const ordered: typeof left = []
  let next = left.findIndex(({ x509 }) => x509.checkPrivateKey(key))
  if (next === -1) throw new PosternError('ERR_CHAIN_KEY_MISMATCH', 'The private key is of none of the certificates given with it.')
  while (next !== -1) {
    const [taken] = left.splice(next, 1)
    if (taken === undefined) break
    ordered.push(taken)
    next = left.findIndex(({ x509 }) => taken.x509.checkIssued(x509))
  }
  return [...ordered, ...left].map(({ der }) => der)
}

function parseCertificate(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der)
  } catch (cause) {
    throw new PosternError('ERR_SVID_MALFORMED', 'A certificate cannot be parsed.', { cause })
  }
}

function selectionOption(only: string | undefined): Selection | undefined {
  const selection = SELECTIONS.find((known) => known === only)
  if (only !== undefined && selection === undefined) throw usage(`\`--only ${only}\`: choose ${SELECTIONS.join(', ')}.`)
  return selection
}

function select({ certificates, key }: Material, selection: Selection | undefined): Material {
  const chosen: Material = {
    certificates: selection === 'key' ? [] : selection === 'leaf' ? certificates.slice(0, 1) : certificates,
    key: selection === undefined || selection === 'key' ? key : undefined,
  }
  if (chosen.certificates.length === 0 && chosen.key === undefined) {
    throw new PosternError('ERR_FILE_KIND', `There is no ${selection === 'key' ? 'private key' : 'certificate'} in what was given.`)
  }
  return chosen
}

async function asPkcs12({ key, certificates }: Material, password: string | undefined, name: string): Promise<Buffer> {
  if (certificates.length === 0) throw new PosternError('ERR_FILE_KIND', 'PKCS#12 needs the certificate of the key: give its file too.')
  if (password === undefined || password === '') {
    throw new PosternError(
      'ERR_PASSWORD_MISSING',
      `PKCS#12 is written with a password${password === '' ? ', and the one given is empty' : ''}: give one with --password-file FILE or --password-env NAME.`,
    )
  }
  const { writePkcs12 } = await import('./pkcs12/write.ts')
  return writePkcs12({ key, certificates, password, name })
}

function asPem({ key, certificates }: Material): string {
  return certificatesPem(certificates) + (key === undefined ? '' : privateKeyPem(key))
}

function asDer({ key, certificates }: Material): Buffer {
  const count = certificates.length + (key === undefined ? 0 : 1)
  if (count > 1) throw usage(`DER holds one object, and there are ${count}: choose with --only leaf or --only key.`)
  return certificates[0] ?? key?.export({ type: 'pkcs8', format: 'der' }) ?? Buffer.alloc(0)
}

function sayWhat({ key, certificates }: Material): string {
  const parts = [
    ...(certificates.length === 0 ? [] : [`${certificates.length} certificate${certificates.length === 1 ? '' : 's'}`]),
    ...(key === undefined ? [] : ['1 private key']),
  ]
  return parts.join(' and ')
}
