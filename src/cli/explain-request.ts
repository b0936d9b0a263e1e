/** `postern explain ID`: why a running sidecar decided a request as it did, or refused a handshake. */
import { PosternError } from '#base/errors'
import { REASONS } from '#base/reasons'
import type { ReasonCode } from '#base/reasons'
import { formatAddress } from '#base/units'
import type { Explanation } from '#policy/explain'
import { formatExplanation } from '#policy/format-explanation'
import { visibleText } from '#telemetry/visible-text'
import { askAdmin, parseAdminAddress } from './admin-client.ts'
import { parseArguments, usage } from './arguments.ts'
import type { CommandIo, ExitStatus } from './command.ts'

/** A decision record, as far as it is shown. */
interface ShownRecord {
  readonly time: string
  readonly request_id: string
  readonly direction: string
  readonly protocol: string
  readonly source_ip: string
  readonly peer?: { readonly id: string }
  readonly token?: { readonly issuer: string; readonly subject: string }
  readonly method: string
  readonly host: string
  readonly path: string
  readonly decision: 'allow' | 'deny'
  readonly reason?: ReasonCode
  readonly detail?: string
  readonly status: number
}

/** A record of a refused handshake, as far as it is shown. */
interface ShownHandshake {
  readonly msg: 'handshake'
  readonly time: string
  readonly listener: string
  readonly source_ip: string
  /** As presented, not verified. */
  readonly peer?: { readonly id: string; readonly serial: string; readonly not_after: string }
  readonly decision: 'deny'
  readonly reason: ReasonCode
  readonly detail: string
}

/** What `GET /v1/decisions/{request_id}` answers. */
interface ExplainedDecision {
  readonly record: ShownRecord | ShownHandshake
  readonly explanation: (Explanation & { readonly considered_total?: number }) | null
  readonly explained_with: { readonly policy_generation: number; readonly same: boolean }
  readonly decisions_with_this_id: number
}

const OPTIONS = {
  admin: { type: 'string', default: 'unix:postern-admin.sock' },
  output: { type: 'string', default: 'text' },
} as const

/** Status 0 allowed, 1 refused. @throws ERR_USAGE, ERR_ADMIN_UNREACHABLE, ERR_ADMIN_REQUEST_UNKNOWN: status 2 */
export async function explainRequest(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values, positionals } = parseArguments(args, OPTIONS, { name: 'REQUEST_ID', min: 1, max: 1 })
  const [requestId = ''] = positionals
  if (values.output !== 'json' && values.output !== 'text') throw usage('`--output` takes `json` or `text`.')
  const address = parseAdminAddress(values.admin, io.cwd)
  const { status, body } = await askAdmin(address, `/v1/decisions/${encodeURIComponent(requestId)}`)
  if (status === 404) {
    throw new PosternError(
      'ERR_ADMIN_REQUEST_UNKNOWN',
      `The sidecar on ${formatAddress(address)} keeps nothing with the id ${visibleText(requestId)}. ${REASONS.ERR_ADMIN_REQUEST_UNKNOWN.remedy}`,
    )
  }
  if (status !== 200 || !isExplainedDecision(body)) {
    throw new PosternError('ERR_ADMIN_UNREACHABLE', `What answers on ${formatAddress(address)} is no sidecar (status ${status}).`)
  }
  const { record } = body
  if (values.output === 'json') io.stdout.write(`${JSON.stringify(body, undefined, 2)}\n`)
  else
    io.stdout.write(
      'msg' in record && record.msg === 'handshake' ? handshakeText(record) : decisionText(record as ShownRecord, body, io.colour),
    )
  return record.decision === 'allow' ? 0 : 1
}

function isExplainedDecision(body: unknown): body is ExplainedDecision {
  return typeof body === 'object' && body !== null && 'record' in body && 'explained_with' in body
}

function handshakeText(record: ShownHandshake): string {
  const { time, listener, source_ip: sourceIp, peer } = record
  const who =
    peer === undefined
      ? 'no certificate was presented that could be read'
      : `presented was ${peer.id === '' ? 'a certificate without SPIFFE ID' : peer.id}, serial ${peer.serial}, until ${peer.not_after}`
  return (
    `${visibleText(`a handshake from ${sourceIp} on ${listener} at ${time}, closed`)}\n  ${visibleText(who)}\n` +
    `refused before any request: ${reasonText(record)}\n`
  )
}

function decisionText(
  record: ShownRecord,
  { explanation, explained_with: by, decisions_with_this_id: count }: ExplainedDecision,
  colour: boolean,
): string {
  const lines = [requestLine(record)]
  if (count > 1) lines.push(`  the latest of ${count} requests with this id`)
  // A limit refuses what policy allowed.
  const wasAllowed = record.decision === 'allow' || record.reason === 'ERR_RATE_LIMITED'
  if (explanation === null) lines.push(...withoutPolicy(record))
  else {
    if (!by.same) lines.push('  policies have changed since; this is what those in force now say')
    if (explanation.decision.allow !== wasAllowed) lines.push(`  it was ${wasAllowed ? 'allowed' : 'refused'} then`)
    lines.push(formatExplanation(restored(explanation), colour).trimEnd())
    const { considered_total: total = 0, considered } = explanation
    if (total > considered.length) lines.push(`  of ${total} allow rules, the nearest ${considered.length} were asked for`)
  }
  if (explanation !== null && record.reason !== undefined && !record.reason.startsWith('ERR_POLICY_')) {
    lines.push(`${wasAllowed ? 'and then' : 'and also'}: ${reasonText(record)}`)
  }
  return `${lines.join('\n')}\n`
}

function requestLine({ time, protocol, method, host, path, peer, token, source_ip: sourceIp, status, direction }: ShownRecord): string {
  const what = protocol === 'tcp' ? 'a connection' : method === '' ? 'a request that could not be read' : `${method} ${host}${path}`
  const who = peer === undefined ? sourceIp : peer.id
  const holder = token === undefined ? '' : ` with a token of ${token.subject}`
  const answer = status === 0 ? 'no answer' : `answered ${status}`
  return visibleText(`${what} ${direction === 'outbound' ? 'to' : 'from'} ${who}${holder} at ${time}, ${answer}`)
}

function withoutPolicy(record: ShownRecord): string[] {
  if (record.reason === undefined) return [record.decision === 'allow' ? 'allowed' : 'refused']
  return [`${record.decision === 'allow' ? 'allowed, then failed' : 'refused before policy was asked'}: ${reasonText(record)}`]
}

function reasonText({ reason, detail }: Pick<ShownRecord, 'reason' | 'detail'>): string {
  if (reason === undefined) return ''
  // A sidecar of another version may know reasons that we do not.
  const known = Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined
  const exactly = detail === undefined || detail === '' ? '' : ` [${visibleText(detail)}]`
  return known === undefined ? `${visibleText(reason)}${exactly}` : `${known.what}${exactly} (${reason})\n  ${known.remedy}`
}

/** JSON has no Infinity: such an answer holds for ever. */
function restored(explanation: Explanation): Explanation {
  const { decision } = explanation
  const validUntil = Number.isFinite(decision.validUntil) ? decision.validUntil : Infinity
  return { ...explanation, decision: { ...decision, validUntil } }
}
