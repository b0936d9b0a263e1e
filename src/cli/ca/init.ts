/** `postern ca init`: an authority in a folder, and a document that runs as it is. */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock } from '#base/clock'
import { PosternError } from '#base/errors'
import { adoptAuthority } from '#ca/adopt'
import { openAuthorityKeys } from '#ca/authority-keys'
import { AUTHORITY_FILES, authorityFiles, makeAuthority } from '#certs-tooling/authority-folder'
import { makeFolder, type OutputFile, writeFiles } from '#certs-tooling/files'
import { keyAlgorithmOption, spanOption } from '#certs-tooling/options'
import { shellWord, timeText } from '#certs-tooling/text'
import { type Authority, createAuthority, loadAuthority } from '#pki/authority'
import { parseArguments, usage } from '../arguments.ts'
import type { Command, CommandIo, ExitStatus } from '../command.ts'
import { openCaStore, readCaConfig } from './open.ts'
import { finishRequest, requestIntermediate } from './init-csr.ts'

const OPTIONS = {
  'trust-domain': { type: 'string' },
  'root-cert': { type: 'string' },
  'root-key': { type: 'string' },
  csr: { type: 'boolean', default: false },
  certificate: { type: 'string' },
  'root-ttl': { type: 'string', default: '3650d' },
  'intermediate-ttl': { type: 'string', default: '365d' },
  'key-algorithm': { type: 'string', default: 'P-256' },
  listen: { type: 'string', default: '127.0.0.1:7100' },
  health: { type: 'string', default: '127.0.0.1:7120' },
} as const

export const DOCUMENT = 'ca.yaml'
const KEYS = 'keys'

export const initCommand: Command = {
  summary: 'makes an authority in a folder',
  help: `Usage: postern ca init DIR --trust-domain TD [options]

Makes an authority in a folder: a root, an intermediate that signs, the trust bundle, an empty store, and a document that runs as it is.

  --trust-domain TD        the trust domain, as in example.org; it cannot be changed later
  --root-cert FILE         an existing root signs the intermediate: its certificate …
  --root-key FILE          … and its key, which is read and not kept
  --csr                    makes the key of the intermediate and a request for whoever has the root's key to sign
  --certificate FILE       the signed intermediate, then what is above it, root last: ends what --csr began
  --root-ttl SPAN          life of a new root (3650d)
  --intermediate-ttl SPAN  life of the intermediate, never beyond the root's (365d)
  --key-algorithm KIND     of new keys (P-256)
  --listen ADDRESS         of the API, for the document (127.0.0.1:7100)
  --health ADDRESS         of health and metrics, for the document (127.0.0.1:7120)

Example:
  postern ca init ca --trust-domain example.org
`,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, OPTIONS, { name: 'DIR', min: 1, max: 1 })
    const shown = positionals[0] ?? ''
    const folder = resolve(io.cwd, shown)
    const keys = join(folder, KEYS)
    const trustDomain = values['trust-domain']
    if (trustDomain === undefined) throw usage('`--trust-domain` is missing: name the trust domain, as in `--trust-domain example.org`.')
    const rootFiles = readRootOptions(values['root-cert'], values['root-key'], io)
    if (existsSync(join(folder, DOCUMENT))) {
      throw new PosternError('ERR_AUTHORITY_EXISTS', `${join(shown, DOCUMENT)} is there already. Choose another folder, or run that one.`)
    }
    const now = systemClock.now()
    const common = { trustDomain, now, keyAlgorithm: keyAlgorithmOption(values['key-algorithm']) }
    const lives = {
      rootTtl: spanOption('--root-ttl', values['root-ttl']),
      intermediateTtl: spanOption('--intermediate-ttl', values['intermediate-ttl']),
    }
    const document = documentText(trustDomain, values.listen, values.health)
    if (values.csr) return requestIntermediate({ keys, shown, io, ...common })
    const files =
      values.certificate !== undefined
        ? finishRequest({ keys, trustDomain, certificatesPem: readFileSync(resolve(io.cwd, values.certificate), 'utf8') })
        : rootFiles !== undefined
          ? await underExisting(keys, loadAuthority(rootFiles), { ...common, ...lives })
          : authorityFiles(keys, await makeAuthority({ ...common, ...lives }))
    const present = files.filter(({ path }) => existsSync(path) && values.certificate === undefined)
    if (present.length > 0) {
      throw new PosternError('ERR_AUTHORITY_EXISTS', `${join(shown, KEYS)} holds an authority already. Choose another folder.`)
    }
    makeFolder(folder)
    makeFolder(keys)
    writeFiles([...files, { path: join(folder, DOCUMENT), content: document, mode: 0o644 }])
    return begin(folder, shown, io)
  },
}

function readRootOptions(
  certificate: string | undefined,
  key: string | undefined,
  io: CommandIo,
): { readonly certificatePem: string; readonly keyPem: string; readonly abovePem: string } | undefined {
  if (certificate === undefined && key === undefined) return undefined
  if (certificate === undefined || key === undefined) throw usage('`--root-cert` and `--root-key` go together.')
  const text = (path: string): string => readFileSync(resolve(io.cwd, path), 'utf8')
  return { certificatePem: text(certificate), keyPem: text(key), abovePem: '' }
}

async function underExisting(
  keys: string,
  root: Authority,
  options: { readonly trustDomain: string; readonly now: number; readonly intermediateTtl: number; readonly keyAlgorithm: NewAuthorityKey },
): Promise<readonly OutputFile[]> {
  const { trustDomain, now, intermediateTtl, keyAlgorithm } = options
  const intermediate = await createAuthority({
    trustDomain,
    kind: 'intermediate',
    issuer: root,
    notBefore: now - 60_000,
    notAfter: now + intermediateTtl,
    keyAlgorithm,
  })
  // The root's own key stays where it is.
  return authorityFiles(keys, { root, intermediate }).filter(({ path }) => !path.endsWith(AUTHORITY_FILES.rootKey))
}

type NewAuthorityKey = ReturnType<typeof keyAlgorithmOption>

function documentText(trustDomain: string, listen: string, health: string): string {
  return `# The document of the certificate authority: docs/ca-configuration.md
apiVersion: postern.dev/v1
kind: CertificateAuthority
spec:
  trustDomain: ${trustDomain}
  listen: ${listen}
  health: ${health}
  store: { sqlite: ca.db }
  keys: file:${KEYS}/
  svid: { x509: 8h, jwt: 5m, max: 24h }
  attest:
    joinToken: {}
`
}

/** Makes the store and lets it take the authority over, so that tokens can be made before it runs. */
async function begin(folder: string, shown: string, io: CommandIo): Promise<ExitStatus> {
  const file = join(folder, DOCUMENT)
  const config = await readCaConfig(file, io)
  await using store = await openCaStore(config, 'server', true)
  await adoptAuthority({ store, keys: openAuthorityKeys(config.keys.folder), trustDomain: config.trustDomain, now: systemClock.now() })
  const { authorities } = await store.trust()
  const until = authorities.find(({ kind }) => kind === 'x509')?.notAfter ?? 0
  const dir = shellWord(shown)
  const bundle = shellWord(join(shown, KEYS, AUTHORITY_FILES.bundlePem))
  io.stdout.write(`${shown} holds the authority of ${config.trustDomain}; it can sign until ${timeText(until)}.\n`)
  if (existsSync(join(folder, KEYS, AUTHORITY_FILES.rootKey))) {
    io.stdout.write(
      `Keep a copy of ${join(shown, KEYS, AUTHORITY_FILES.rootKey)} offline, then remove it there: it is needed for new intermediates alone.\n`,
    )
  }
  const id = `spiffe://${config.trustDomain}/ns/shop/sa/cart`
  io.stderr.write(`
Next:
  postern ca run --config ${dir}/${DOCUMENT} &
  postern ca token --config ${dir}/${DOCUMENT} --id ${id} | \\
    postern certs request --ca ${config.listen.host}:${config.listen.port} --bundle ${bundle} --token-file - --out cart
`)
  return 0
}
