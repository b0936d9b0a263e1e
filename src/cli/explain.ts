/** `postern explain`: decides a request offline and says why, or explains one that a running sidecar decided. */
import { createReadStream } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { systemClock } from '#base/clock'
import { PosternError } from '#base/errors'
import { REASONS } from '#base/reasons'
import type { Refusal } from '#base/result'
import { nearest } from '#base/suggest'
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import type { CertificateFacts } from '#identity/peer'
import type { PolicyDocument } from '#policy/document'
import { explain } from '#policy/explain'
import { explanationRecord, formatExplanation } from '#policy/format-explanation'
import { protocolProblems } from '#policy/protocol'
import { type DescribedRequest, readRequest } from '#policy/request'
import { type AssumedScope, assumeScope } from '#policy/scope'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { hasErrors, loadPolicies } from './policy-files.ts'
import { reportErrors, wantsJson } from './policy.ts'

const REQUEST_OPTIONS = {
  peer: { type: 'string' },
  method: { type: 'string' },
  path: { type: 'string' },
  host: { type: 'string' },
  header: { type: 'string', multiple: true },
  token: { type: 'string' },
  at: { type: 'string' },
  'source-ip': { type: 'string' },
  port: { type: 'string' },
  protocol: { type: 'string' },
  certificate: { type: 'string' },
  service: { type: 'string' },
  label: { type: 'string', multiple: true },
  paths: { type: 'string', multiple: true },
} as const

const OPTIONS = {
  ...REQUEST_OPTIONS,
  policies: { type: 'string', multiple: true },
  cases: { type: 'string' },
  output: { type: 'string', default: 'text' },
} as const

export const explainCommand: Command = {
  summary: 'decides a request and says why',
  help: `postern explain: decides a request and says why

Usage: postern explain --policies PATH --peer SPIFFE_ID --method GET --path /x [options]
       postern explain --policies PATH --cases FILE [options]
       postern explain ID [--admin ADDRESS]      what a running sidecar decided: request_id of a request, handshake_id of a handshake
       postern explain ERR_CODE                  a reason

  --policies PATH       a policy file, or a folder of them; may be repeated
  --peer SPIFFE_ID      who calls
  --method METHOD       default GET, for grpc POST
  --path '/x?q=1'       path with query, as sent; default /
  --host HOST           authority; --header 'host: …' sets it too
  --header 'NAME: VALUE' may be repeated
  --token CLAIMS.json   claims of a verified token, with iss and sub
  --at TIME             as of this time, as in 2026-12-24T18:00:00Z; default now
  --source-ip IP        --port PORT           --protocol http|grpc|tcp
  --certificate PEM     the peer's certificate
  --service NAME        --label KEY=VALUE     what is being governed; default: what the policies name, if they agree
  --paths NAME          kinds of paths that the listener takes: encoded-slash, double-slash, params, double-encoding, ignore-case
  --cases FILE          one request a line, as a JSON object with the names of these options as keys (headers as a map or a list);
                        what a line does not say, the options do; - is standard input
  --output json

Exit status: 0 allowed, 1 refused, 2 a document or an option is wrong. With --cases: 0, or 1 if a line has an \`expect\` that is not met.

Example:
  postern explain --policies policies/ --peer spiffe://example.org/ns/shop/sa/cart --method POST --path /catalog/1
`,
  async run(args, io) {
    const [first = '-', ...rest] = args
    if (/^ERR_[A-Z0-9_]+$/.test(first) && rest.length === 0) return explainReason(first, io)
    const isOnline = !first.startsWith('-') || args.some((arg) => /^--admin(=|$)/.test(arg))
    return isOnline ? (await import('./explain-request.ts')).explainRequest(args, io) : explainOffline(args, io)
  },
}

/** What a record of a refused handshake, or any other, says with its `reason`. @throws ERR_USAGE */
function explainReason(code: string, io: CommandIo): ExitStatus {
  const codes = Object.keys(REASONS) as (keyof typeof REASONS)[]
  const known = codes.find((name) => name === code)
  if (known === undefined) {
    const meant = nearest(code, codes)
    throw usage(`there is no reason ${code}.${meant === undefined ? '' : ` Did you mean ${meant}?`}`)
  }
  io.stdout.write(`${known}: ${REASONS[known].what}\n  ${REASONS[known].remedy}\n`)
  return 0
}

async function explainOffline(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values } = parseArguments(args, OPTIONS)
  const json = wantsJson(values.output)
  if (values.policies === undefined) throw usage('`--policies` is missing: name a policy file or a folder of them.')
  const loaded = await loadPolicies(values.policies, io.cwd)
  reportErrors(loaded, io)
  if (hasErrors(loaded.problems)) return 2
  const { policies: _, cases, output: __, certificate: pem, token, ...described } = values
  const certificate = pem === undefined ? undefined : await readCertificate(pem, io)
  const claims = token === undefined ? {} : { token: await readClaims(token, io) }
  const setting: Setting = { documents: loaded.documents, certificate, now: systemClock.now() }
  if (cases !== undefined) return explainCases(cases, { ...described, ...claims }, setting, io)
  return explainOne({ ...described, ...claims }, setting, json, io)
}

interface Setting {
  readonly documents: readonly PolicyDocument[]
  readonly certificate: CertificateFacts | undefined
  readonly now: number
}

interface Prepared {
  readonly request: DescribedRequest
  readonly assumption: AssumedScope
}

/** @throws ERR_USAGE where the description is wrong or says too little */
function prepare(description: Readonly<Record<string, unknown>>, { documents, certificate, now }: Setting): Prepared {
  const { request, faults } = readRequest(description, now, certificate)
  if (request === undefined) throw usage(faults.join(' '))
  const assumption = assumeScope(documents, request)
  if (assumption.missing.length > 0) throw usage(`the policies are for several, so say which: ${assumption.missing.join(', ')}.`)
  if (request.facts.protocol === 'tcp') {
    const listener = { ...assumption.scope, name: `on port ${assumption.port}`, protocol: 'tcp', ignoreCase: false } as const
    const [problem] = documents.flatMap((document) => protocolProblems(document, [listener]))
    if (problem !== undefined)
      throw new PosternError(problem.code, `${problem.at.file}:${problem.at.line}:${problem.at.column}: ${problem.message}`)
  }
  return { request, assumption }
}

function explainOne(description: Readonly<Record<string, unknown>>, setting: Setting, json: boolean, io: CommandIo): ExitStatus {
  const { request, assumption } = prepare(description, setting)
  const { assumed, scope, port } = assumption
  if (assumed.length > 0) io.stderr.write(`Taken from the policies: ${assumed.join(', ')}.\n`)
  if (request.refused !== undefined) {
    io.stdout.write(json ? `${JSON.stringify(refusedRecord(request.refused), undefined, 2)}\n` : refusedText(request.refused, io.colour))
    return 1
  }
  const explanation = explain(setting.documents, scope, { ...request.facts, port }, request.at ?? setting.now)
  io.stdout.write(json ? `${JSON.stringify(explanationRecord(explanation), undefined, 2)}\n` : formatExplanation(explanation, io.colour))
  return explanation.decision.allow ? 0 : 1
}

function refusedRecord({ reason, detail }: Refusal): Record<string, unknown> {
  return { decision: 'deny', reason, detail, policy: '', rule: '' }
}

function refusedText({ reason, detail }: Refusal, colour: boolean): string {
  const word = colour ? '\u001b[31mrefused\u001b[0m' : 'refused'
  return `${word} before policy is asked: ${REASONS[reason].what}${detail === '' ? '' : ` [${detail}]`} (${reason})\n  ${REASONS[reason].remedy}\n`
}

/** Rules considered that one line shows. */
const CONSIDERED_PER_CASE = 3

async function explainCases(
  file: string,
  defaults: Readonly<Record<string, unknown>>,
  setting: Setting,
  io: CommandIo,
): Promise<ExitStatus> {
  let status: ExitStatus = 0
  let number = 0
  for await (const line of linesOf(file, io)) {
    number++
    if (line.trim() === '') continue
    const answer = await explainCase(line, number, defaults, setting, io)
    io.stdout.write(`${JSON.stringify(answer.record)}\n`)
    if (answer.status > status) status = answer.status
  }
  return status
}

interface Answer {
  readonly record: Record<string, unknown>
  readonly status: 0 | 1 | 2
}

async function explainCase(
  line: string,
  number: number,
  defaults: Readonly<Record<string, unknown>>,
  setting: Setting,
  io: CommandIo,
): Promise<Answer> {
  try {
    const { expect, because, id, request: nested, ...flat } = parseObject(line, `line ${number}`)
    const own: Record<string, unknown> = typeof nested === 'object' && nested !== null ? { ...nested } : flat
    const token = typeof own['token'] === 'string' ? { token: await readClaims(own['token'], io) } : {}
    const { request, assumption } = prepare({ ...defaults, ...own, ...token }, setting)
    const { scope, port } = assumption
    const record =
      request.refused === undefined
        ? explanationRecord(explain(setting.documents, scope, { ...request.facts, port }, request.at ?? setting.now, CONSIDERED_PER_CASE))
        : refusedRecord(request.refused)
    const met =
      (expect === undefined || expect === record['decision']) &&
      (because === undefined || [record['rule'], record['reason']].includes(because))
    return {
      record: { ...(id === undefined ? { line: number } : { id }), ...record, ...(met ? {} : { expected: expect, because }) },
      status: met ? 0 : 1,
    }
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return { record: { line: number, error: error.message, code: error.code }, status: 2 }
  }
}

async function* linesOf(file: string, io: CommandIo): AsyncGenerator<string> {
  const input = file === '-' ? io.stdin : createReadStream(resolve(io.cwd, file))
  try {
    yield* createInterface({ input, crlfDelay: Infinity })
  } catch (error) {
    throw usage(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}.`, error)
  }
}

async function readText(file: string, io: CommandIo): Promise<string> {
  const read = await readBoundedFile(resolve(io.cwd, file))
  const text = isFault(read) ? undefined : decodeUtf8(read.content)
  if (text === undefined) throw usage(isFault(read) ? `${read.fault}.` : `${file} is not UTF-8.`)
  return text
}

async function readClaims(file: string, io: CommandIo): Promise<Record<string, unknown>> {
  return parseObject(await readText(file, io), file)
}

function parseObject(text: string, what: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw usage(`${what} is not JSON: ${error instanceof Error ? error.message : String(error)}.`, error)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw usage(`${what} is not a JSON object.`)
}

async function readCertificate(file: string, io: CommandIo): Promise<CertificateFacts> {
  const [{ certificatesOfPem }, { readLeafFacts }] = await Promise.all([import('#pki/pem'), import('#pki/leaf-facts')])
  const [der] = certificatesOfPem(await readText(file, io))
  if (der === undefined) throw usage(`${file} holds no certificate in PEM.`)
  const facts = readLeafFacts(der)
  if (!facts.ok) throw new PosternError(facts.reason, `${file}: ${REASONS[facts.reason].what}`)
  return facts.value.certificate
}
