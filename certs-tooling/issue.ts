/** `postern certs issue`: signs a short-lived X509-SVID with the authority in a folder. */
import { join, resolve } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { parseArguments, usage } from '#cli/arguments'
import type { Command, CommandIo } from '#cli/command'
import { readCsr } from '#pki/csr'
import { issueSvid, type SvidRequest } from '#pki/issue'
import { KEY_ALGORITHMS } from '#pki/keys'
import { readAuthorityFolder } from './authority-folder.ts'
import { exists, makeFolder, type OutputFile, readInput, writeFiles } from './files.ts'
import { jsonOption, keyAlgorithmOption, spanOption } from './options.ts'
import { columns, jsonText, mark, printable, spanText, timeText } from './text.ts'

const OPTIONS = {
  id: { type: 'string' },
  out: { type: 'string' },
  ttl: { type: 'string', default: '8h' },
  csr: { type: 'string' },
  dns: { type: 'string', multiple: true, default: [] as string[] },
  'key-algorithm': { type: 'string', default: 'P-256' },
  output: { type: 'string', default: 'text' },
} as const

export function issueCommand(clock: Clock): Command {
  return {
    summary: 'signs a short-lived certificate for one workload',
    help: `postern certs issue: signs a short-lived X509-SVID for one workload

Usage: postern certs issue DIR --id SPIFFE_ID --out DIR [options]

  DIR                   the authority's folder, made by \`postern certs init\`
  --id SPIFFE_ID        who the certificate is for, as in spiffe://example.org/ns/shop/sa/cart
  --out DIR             where svid.pem (leaf, then intermediate), key.pem (PKCS#8, 0600) and bundle.pem go
  --ttl SPAN            its life; never beyond the authority's (8h)
  --csr FILE            signs the key of this request instead of making one; no key.pem is written then
  --dns NAME            a DNS name beside the SPIFFE ID, for peers that know no SPIFFE; may be repeated
  --key-algorithm KIND  ${KEY_ALGORITHMS.join(', ')} (P-256)
  --output json         prints what was written as JSON

Files that are there are replaced, each in one step: a sidecar that watches them never reads half of one.

Example:
  postern certs issue ca --id spiffe://example.org/ns/shop/sa/cart --out cart --ttl 1h
`,
    run: async (args, io) => issue(args, io, clock),
  }
}

async function issue(args: readonly string[], io: CommandIo, clock: Clock): Promise<0> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'DIR', min: 1, max: 1 })
  const shown = positionals[0] ?? ''
  const { id, out, csr } = values
  if (id === undefined) throw usage('`--id` is missing: name the workload, as in `--id spiffe://example.org/ns/shop/sa/cart`.')
  if (out === undefined) throw usage('`--out` is missing: name the folder that svid.pem, key.pem and bundle.pem go to.')
  const json = jsonOption(values.output)
  const ttl = spanOption('--ttl', values.ttl)
  const keyAlgorithm = keyAlgorithmOption(values['key-algorithm'])
  const dnsNames = values.dns.map(dnsNameOption)
  const { signer, bundlePem } = readAuthorityFolder(resolve(io.cwd, shown), shown)
  const requested: Pick<SvidRequest, 'publicKey'> = csr === undefined ? {} : { publicKey: await keyOfRequest(csr, id, io) }

  const now = clock.now()
  const svid = await issueSvid({ authority: signer, id, now, ttl, keyAlgorithm, dnsNames, ...requested })

  const left = Math.ceil((svid.notAfter - now) / 1000) * 1000 // certificates end on whole seconds; the 8h asked for are not 7h 59m
  const folder = resolve(io.cwd, out)
  if (!exists(folder)) makeFolder(folder)
  const files = svidFiles(folder, svid.certificatePem, svid.keyPem, bundlePem)
  writeFiles(files)
  const facts = { id, serial: svid.serial, notBefore: timeText(svid.notBefore), notAfter: timeText(svid.notAfter), clamped: svid.clamped }
  if (json) io.stdout.write(jsonText({ ...facts, files: files.map((file) => file.path) }))
  else {
    io.stdout.write(files.map((file) => `${mark('√', io)} ${join(out, file.path.slice(folder.length))}\n`).join(''))
    io.stdout.write(
      `\n${columns([
        ['SPIFFE ID', id],
        ['until', `${facts.notAfter} (${spanText(left)} left)`],
        ['serial', svid.serial],
      ])}`,
    )
  }
  if (svid.clamped) {
    io.stderr.write(
      `${mark('‼', io)} It ends with its authority, in ${spanText(left)}, not after the ${values.ttl} asked for: no certificate outlives its issuer.\n`,
    )
  }
  return 0
}

// The certificate last: whoever acts on it finds its key and bundle in place.
function svidFiles(folder: string, certificatePem: string, keyPem: string | undefined, bundlePem: string): OutputFile[] {
  const key: OutputFile[] = keyPem === undefined ? [] : [{ path: join(folder, 'key.pem'), content: keyPem, mode: 0o600 }]
  return [
    ...key,
    { path: join(folder, 'bundle.pem'), content: bundlePem, mode: 0o644 },
    { path: join(folder, 'svid.pem'), content: certificatePem, mode: 0o644 },
  ]
}

async function keyOfRequest(path: string, id: string, io: CommandIo): Promise<NonNullable<SvidRequest['publicKey']>> {
  const request = readCsr(await readInput(path, io))
  const others = request.uris.filter((uri) => uri !== id)
  if (others.length > 0) {
    throw new PosternError(
      'ERR_ISSUE_ID',
      `The request asks for \`${printable(others.join(', '))}\`, and --id says \`${id}\`: make them agree.`,
    )
  }
  return request.publicKey
}

function dnsNameOption(name: string): string {
  const label = '[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?'
  if (name.length > 253 || !new RegExp(`^(?:\\*\\.)?${label}(?:\\.${label})*$`).test(name))
    throw usage(`\`--dns ${name}\` is not a DNS name.`)
  return name
}
