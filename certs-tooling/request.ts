/** `postern certs request`: asks a running authority for an X509-SVID, or renews one. */
import { setTimeout as sleep } from 'node:timers/promises'
import { join, resolve } from 'node:path'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { parseAddress, type TcpAddress } from '#base/units'
import { parseArguments, usage } from '#cli/arguments'
import type { Command, CommandIo } from '#cli/command'
import { type Bundle, readBundle, trustDomainNamedIn } from '#pki/bundle'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { createTrustStore } from '#pki/trust-store'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import { isObject, readSvidAnswer } from '#svid-source/ca-answer'
import { createCaClient } from '#svid-source/ca-client'
import { exists, makeFolder, readFile, readInput, writeFiles } from './files.ts'
import { jsonOption, spanOption } from './options.ts'
import { columns, jsonText, mark, spanText, timeText } from './text.ts'

const OPTIONS = {
  ca: { type: 'string' },
  bundle: { type: 'string' },
  'trust-domain': { type: 'string' },
  'token-file': { type: 'string' },
  type: { type: 'string', default: 'join_token' },
  renew: { type: 'boolean', default: false },
  ttl: { type: 'string' },
  wait: { type: 'string', default: '10s' },
  out: { type: 'string' },
  output: { type: 'string', default: 'text' },
} as const

const TYPES = ['join_token', 'service_account_token', 'oidc']

export function requestCommand(clock: Clock): Command {
  return {
    summary: 'asks a running authority for a certificate',
    help: `postern certs request: asks a running authority for an X509-SVID, or renews one

Usage: postern certs request --ca ADDRESS --bundle FILE --token-file FILE --out DIR [options]
       postern certs request --ca ADDRESS --renew --out DIR [options]

  --ca ADDRESS         of \`postern ca run\`: host:port
  --bundle FILE        what the authority is verified with, PEM or SPIFFE JWKS (with --renew: bundle.pem of DIR)
  --token-file FILE    the token that proves who this is; \`-\` is standard input
  --type TYPE          of the token: ${TYPES.join(', ')} (join_token)
  --renew              proves it with the certificate in DIR instead; the key is made anew
  --out DIR            where svid.pem (leaf, then intermediate), key.pem (PKCS#8, 0600) and bundle.pem go
  --ttl SPAN           a life other than the authority's usual one
  --wait SPAN          how long to try while the authority cannot be reached (10s)
  --trust-domain TD    where the bundle does not say it
  --output json        prints what was written as JSON

Example:
  postern certs request --ca 127.0.0.1:7100 --bundle ca/keys/bundle.pem --token-file token --out cart

where \`postern ca token --config ca/ca.yaml --id spiffe://example.org/ns/shop/sa/cart\` has printed what is in the file token.
`,
    run: async (args, io) => request(args, io, clock),
  }
}

async function request(args: readonly string[], io: CommandIo, clock: Clock): Promise<0 | 1> {
  const { values } = parseArguments(args, OPTIONS)
  const { out, renew } = values
  if (out === undefined) throw usage('`--out` is missing: name the folder that svid.pem, key.pem and bundle.pem go to.')
  const address = addressOption(values.ca)
  const json = jsonOption(values.output)
  const ttl = values.ttl === undefined ? undefined : spanOption('--ttl', values.ttl)
  const wait = spanOption('--wait', values.wait)
  if (!TYPES.includes(values.type)) throw usage(`\`--type ${values.type}\` is none of ${TYPES.join(', ')}.`)
  const folder = resolve(io.cwd, out)
  const bundleFile = values.bundle ?? (renew ? join(out, 'bundle.pem') : undefined)
  if (bundleFile === undefined) throw usage('`--bundle` is missing: what the authority is verified with, such as ca/keys/bundle.pem.')
  if (renew === (values['token-file'] !== undefined))
    throw usage('give `--token-file`, or `--renew` for a certificate that is there already.')
  const bundle = bundleOption(readFile(resolve(io.cwd, bundleFile), bundleFile).toString('utf8'), bundleFile, values['trust-domain'])
  const identity = renew ? heldIdentity(folder, out) : undefined
  const token = renew ? undefined : (await readInput(values['token-file'] ?? '', io)).toString('utf8').trim()
  if (token === '') throw usage('the token is empty: see what came before on standard error.')

  const privateKey = await generatePrivateKey('P-256')
  const body = {
    csr: requestSvid(privateKey),
    ...(token !== undefined && { attestation: { type: values.type, token } }),
    ...(ttl !== undefined && { ttl: Math.max(1, Math.floor(ttl / 1000)) }),
  }
  const answer = await ask(address, body, { identity, trust: createTrustStore(bundle.trustDomain, [bundle]) }, { clock, wait })
  if (typeof answer === 'string') {
    io.stderr.write(`${mark('×', io)} ${answer}.\n`)
    return 1
  }
  const svid = readSvidAnswer(answer)
  if (typeof svid === 'string') throw new PosternError('ERR_CA_ANSWER', `The answer of the authority cannot be used: ${svid}.`)
  const keyPem = privateKeyPem(privateKey)
  const { id, facts } = readWorkloadIdentity({ certificatePem: svid.certificatePem, keyPem })
  const roots = readBundle(svid.bundle, bundle.trustDomain, 'in the answer').roots.map(({ pem }) => pem)
  if (!exists(folder)) makeFolder(folder)
  // The certificate last: whoever acts on it finds its key and bundle in place.
  const files = [
    { path: join(folder, 'key.pem'), content: keyPem, mode: 0o600 as const },
    { path: join(folder, 'bundle.pem'), content: roots.join(''), mode: 0o644 as const },
    { path: join(folder, 'svid.pem'), content: svid.certificatePem, mode: 0o644 as const },
  ]
  writeFiles(files)
  const [until, renewAt] = [timeText(facts.notAfter), timeText(svid.renewAt)]
  if (json) {
    io.stdout.write(
      jsonText({ id: id.uri, serial: facts.serial, not_after: until, renew_at: renewAt, files: files.map(({ path }) => path) }),
    )
    return 0
  }
  io.stdout.write(files.map(({ path }) => `${mark('√', io)} ${join(out, path.slice(folder.length))}\n`).join(''))
  const left = spanText(Math.ceil((facts.notAfter - clock.now()) / 1000) * 1000)
  io.stdout.write(
    `\n${columns([
      ['SPIFFE ID', id.uri],
      ['until', `${until} (${left} left)`],
      ['renew at', renewAt],
      ['serial', facts.serial],
    ])}`,
  )
  io.stderr.write(
    `\nNext:\n  postern certs request --ca ${values.ca ?? ''} --renew --out ${out}\nor let a sidecar get one and renew it by itself: \`spec.identity.ca\`, docs/certificate-authority.md\n`,
  )
  return 0
}

function addressOption(text: string | undefined): TcpAddress {
  if (text === undefined) throw usage('`--ca ADDRESS` is missing: where `postern ca run` listens, such as 127.0.0.1:7100.')
  const address = parseAddress(text)
  if (address?.kind !== 'tcp' || address.port === 0) throw usage(`\`--ca ${text}\` is not host:port.`)
  return address
}

function bundleOption(text: string, file: string, trustDomain: string | undefined): Bundle {
  const domain = trustDomain ?? trustDomainNamedIn(text)
  if (domain === undefined) throw usage(`${file} does not say whose bundle it is: add \`--trust-domain\`.`)
  return readBundle(text, domain, file)
}

function heldIdentity(folder: string, shown: string): WorkloadIdentity {
  const text = (name: string): string => readFile(join(folder, name), join(shown, name)).toString('utf8')
  return readWorkloadIdentity({ certificatePem: text('svid.pem'), keyPem: text('key.pem') })
}

const PAUSE = 200

/** @returns the answer, or in words why there is none */
async function ask(
  address: TcpAddress,
  body: object,
  credentials: Parameters<ReturnType<typeof createCaClient>['post']>[2],
  { clock, wait }: { readonly clock: Clock; readonly wait: number },
): Promise<object | string> {
  const client = createCaClient({ address, clock })
  const until = clock.monotonic() + wait
  try {
    for (;;) {
      const reply = await client.post('/v1/x509-svid', body, credentials)
      if (reply.ok) return isObject(reply.value) ? reply.value : {}
      const pause = Math.max(PAUSE, reply.retryAfter)
      const mayHelp = reply.reason === 'ERR_CA_UNREACHABLE' || reply.reason === 'ERR_CA_BUSY'
      if (!mayHelp || clock.monotonic() + pause > until) return reply.detail
      await sleep(pause)
    }
  } finally {
    client.close()
  }
}
