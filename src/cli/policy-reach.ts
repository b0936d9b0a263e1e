/** `postern policy who-can` and `what-can`: who is allowed a request, and what a caller is allowed, over a set of policies. */
import { systemClock } from '#base/clock'
import { REASONS } from '#base/reasons'
import type { PolicyDocument } from '#policy/document'
import { formatReach, reachRecord, type ReachQuestion } from '#policy/format-reach'
import { type Known, reach } from '#policy/reach'
import { type DescribedRequest, readRequest } from '#policy/request'
import { assumeScope } from '#policy/scope'
import { visibleText } from '#telemetry/visible-text'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { hasErrors, loadPolicies } from './policy-files.ts'
import { reportErrors, wantsJson } from './policy.ts'

const OPTIONS = {
  policies: { type: 'string', multiple: true },
  protocol: { type: 'string' },
  host: { type: 'string' },
  at: { type: 'string' },
  service: { type: 'string' },
  label: { type: 'string', multiple: true },
  port: { type: 'string' },
  paths: { type: 'string', multiple: true },
  shadow: { type: 'boolean', default: false },
  output: { type: 'string', default: 'text' },
} as const

const OPTIONS_HELP = `  --policies PATH       a policy file, or a folder of them; may be repeated
  --protocol http|grpc|tcp
  --host HOST           of requests to this host alone
  --at TIME             as of this time, as in 2026-12-24T18:00:00Z; default: now and later, times are conditions
  --service NAME        --label KEY=VALUE     --port PORT     what is being governed; default: what the policies name, if they agree
  --paths NAME          kinds of paths that the listener takes, as for \`postern explain\`
  --shadow              as if the shadow policies were enforced
  --output json`

export const whoCanCommand: Command = {
  summary: 'lists who is allowed a request',
  help: `postern policy who-can: lists who is allowed a request

Usage: postern policy who-can METHOD PATH --policies PATH [options]

${OPTIONS_HELP}

Callers that rules name one by one are listed one by one; others by what they must be. What the method and the path do not settle (a
header, a token, the time) is shown as a condition after \`if\`; deny rules that may overrule a grant follow it, after \`unless\`.
Exit status: 0 somebody, 1 nobody, 2 a document or an option is wrong.

Example:
  postern policy who-can GET /catalog/1 --policies policies/
`,
  run: whoCan,
}

export const whatCanCommand: Command = {
  summary: 'lists what a caller is allowed',
  help: `postern policy what-can: lists what a caller is allowed

Usage: postern policy what-can SPIFFE_ID --policies PATH [options]

${OPTIONS_HELP}

Exit status: 0 something, 1 nothing, 2 a document or an option is wrong.

Example:
  postern policy what-can spiffe://example.org/ns/shop/sa/cart --policies policies/
`,
  run: whatCan,
}

async function whoCan(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'METHOD PATH', min: 2, max: 2 })
  const [method = '', path = ''] = positionals
  const { policies, output, shadow, ...described } = values
  if (described.protocol === 'tcp')
    throw usage('opaque connections have neither method nor path: ask `what-can`, or `who-can` without tcp.')
  const question = await ask({ ...described, method, path }, policies, io)
  if (question === undefined) return 2
  const { request, documents } = question
  if (request.refused !== undefined) {
    const { reason, detail } = request.refused
    const { what } = REASONS[reason]
    io.stdout.write(
      wantsJson(output)
        ? `${JSON.stringify({ allowed: false, reason, detail, grants: [], overruled: [] }, undefined, 2)}\n`
        : `${visibleText(`${method} ${path}`)} is allowed to nobody: ${what}${detail === '' ? '' : ` [${visibleText(detail)}]`} (${reason})\n`,
    )
    return 1
  }
  const { facts } = request
  return answer(
    { question: 'who', asked: `${method} ${facts.path}`, known: { method, path: facts.path } },
    { request, documents, output, shadow },
    io,
  )
}

async function whatCan(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'SPIFFE_ID', min: 1, max: 1 })
  const [peer = ''] = positionals
  const { policies, output, shadow, ...described } = values
  const question = await ask({ ...described, peer }, policies, io)
  if (question === undefined) return 2
  const id = question.request.facts.peer?.id
  return answer({ question: 'what', asked: peer, known: { peer: id } }, { ...question, output, shadow }, io)
}

interface Question {
  readonly request: DescribedRequest
  readonly documents: readonly PolicyDocument[]
}

/** Undefined where a document has errors, which are then reported. @throws ERR_USAGE */
async function ask(
  description: Readonly<Record<string, unknown>>,
  policies: readonly string[] | undefined,
  io: CommandIo,
): Promise<Question | undefined> {
  if (policies === undefined) throw usage('`--policies` is missing: name a policy file or a folder of them.')
  const { request, faults } = readRequest(withoutUndefined(description), systemClock.now())
  if (request === undefined) throw usage(faults.join(' '))
  const loaded = await loadPolicies(policies, io.cwd)
  reportErrors(loaded, io)
  return hasErrors(loaded.problems) ? undefined : { request, documents: loaded.documents }
}

interface Asked {
  readonly question: ReachQuestion
  readonly asked: string
  readonly known: Partial<Known>
}

function answer(
  { question, asked, known }: Asked,
  { request, documents, output, shadow }: Question & { readonly output: string; readonly shadow: boolean },
  io: CommandIo,
): ExitStatus {
  const json = wantsJson(output)
  const { scope, port, assumed, missing } = assumeScope(documents, request)
  if (missing.length > 0) throw usage(`the policies are for several, so say which: ${missing.join(', ')}.`)
  if (assumed.length > 0) io.stderr.write(`Taken from the policies: ${assumed.join(', ')}.\n`)
  const { protocol, host } = request.facts
  const unknown = { peer: undefined, method: undefined, path: undefined, host: host === '' ? undefined : host }
  const found = reach(documents, scope, { protocol, port, ...unknown, at: request.at, ...known }, request.at ?? systemClock.now(), shadow)
  io.stdout.write(json ? `${JSON.stringify(reachRecord(found), undefined, 2)}\n` : formatReach(found, question, visibleText(asked)))
  return found.grants.length > 0 ? 0 : 1
}

function withoutUndefined(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
