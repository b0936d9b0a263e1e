/**
 * One event as one line of JSON in ASCII, built from parts prepared per connection, token and rule.
 * `docs/operations.md` lists every field.
 */
import type { TokenPrincipal } from '#identity/peer'
import type { Decision, ShadowVerdict } from '#policy/decision'
import type { ConnectionOrigin, ExchangeEvent, HandshakeEvent } from './event.ts'
import { jsonHeadText, jsonText } from './json-text.ts'
import { createTimeText, isoTime } from './time-text.ts'

export interface RecordText {
  /** With its newline. */
  exchange(event: ExchangeEvent): string
  handshake(event: HandshakeEvent): string
}

export interface RecordTextOptions {
  /** `''` if it is not known any more. */
  readonly digestOf: (generation: number) => string
}

/** Longest texts of the caller's, in characters; what is longer is cut, and its field named under `cut`. */
const LONGEST = { request_id: 128, method: 64, host: 255, path: 1024, detail: 512 } as const
const LONGEST_PRINCIPAL = 2048
const LONGEST_TOKEN_TEXT = 512
/** Names from our own documents. */
const LONGEST_NAME = 256
/** Rules whose part is remembered. */
const REMEMBERED_RULES = 10_000

/** What is remembered of a connection, from behind the request id on. Its requests mostly differ by their path alone. */
interface OriginParts {
  readonly from: string
  /** From behind the numbers to before the trace id. */
  readonly tls: string
  token: TokenPrincipal | undefined
  method: string
  host: string
  /** Of a request with these three: to before its path. */
  asked: string
}

export function createRecordText({ digestOf }: RecordTextOptions): RecordText {
  const timeText = createTimeText()
  const beginning = createBeginning(timeText)
  const origins = new WeakMap<ConnectionOrigin, OriginParts>()
  const tokens = new WeakMap<TokenPrincipal, string>()
  const ruleParts = createRuleParts(digestOf)

  function originParts(origin: ConnectionOrigin): OriginParts {
    let parts = origins.get(origin)
    if (parts === undefined) {
      parts = { from: `"${fromPart(origin)}`, tls: flat(tlsPart(origin)), token: undefined, method: '', host: '', asked: '' }
      origins.set(origin, parts)
    }
    return parts
  }

  function tokenPart(token: TokenPrincipal): string {
    let part = tokens.get(token)
    if (part === undefined) {
      const issuer = jsonText(short(token.issuer, LONGEST_TOKEN_TEXT))
      part = flat(`,"token":{"issuer":"${issuer}","subject":"${jsonText(short(token.subject, LONGEST_TOKEN_TEXT))}"}`)
      tokens.set(token, part)
    }
    return part
  }

  function asked(parts: OriginParts, { token, method, host }: ExchangeEvent): string {
    if (parts.asked === '' || parts.method !== method || parts.host !== host || parts.token !== token) {
      parts.token = token
      parts.method = method
      parts.host = host
      parts.asked = flat(
        `${parts.from}${token === undefined ? '' : tokenPart(token)},"method":"${jsonHeadText(short(method, LONGEST.method))}` +
          `","host":"${jsonHeadText(short(host, LONGEST.host))}","path":"`,
      )
    }
    return parts.asked
  }

  return {
    exchange(event) {
      const { decision, reason, detail, traceId } = event
      const parts = originParts(event.origin)
      const isPlainAllow = reason === undefined && decision !== undefined && decision.allow
      let line =
        `${beginning(event.time, isPlainAllow)}${jsonText(short(event.requestId, LONGEST.request_id))}${asked(parts, event)}` +
        `${jsonHeadText(short(event.path, LONGEST.path))}${decision === undefined ? UNDECIDED : ruleParts(decision)}`
      if (reason !== undefined) line += `,"reason":"${reason}"`
      if (detail !== '') line += `,"detail":"${jsonHeadText(short(detail, LONGEST.detail))}"`
      if (decision !== undefined && decision.shadow !== undefined) line += shadowPart(decision.shadow)
      line += `,"status":${event.status}`
      if (event.grpcStatus !== undefined) line += `,"grpc_status":${event.grpcStatus}`
      line += `,"bytes_in":${event.bytesIn},"bytes_out":${event.bytesOut},"duration_us":${Math.round(event.durationUs)},"decide_us":${Math.round(event.decideUs)}${parts.tls}`
      if (traceId !== '') line += `,"trace_id":"${jsonText(short(traceId, LONGEST_NAME))}"`
      return `${line}${cutPart(event)}}\n`
    },
    handshake(event) {
      const { presented, detail } = event
      const peer =
        presented === undefined
          ? ''
          : peerPart(short(presented.id, LONGEST_PRINCIPAL), short(presented.serial, LONGEST_NAME), presented.notAfter)
      return (
        `{"time":"${timeText(event.time)}","level":"warn","msg":"handshake","handshake_id":"${jsonText(event.id)}"` +
        `,"listener":"${jsonText(event.listener)}"` +
        `,"source_ip":"${jsonText(event.sourceIp)}"${peer},"decision":"deny","reason":"${event.reason}"` +
        `,"detail":"${jsonHeadText(short(detail, LONGEST.detail))}"${detail.length > LONGEST.detail ? ',"cut":["detail"]' : ''}}\n`
      )
    },
  }
}

const UNDECIDED = '","decision":"deny"'

/** All before the request id. At load, many end in one millisecond. */
function createBeginning(timeText: (time: number) => string): (time: number, plain: boolean) => string {
  let last = Number.NaN
  let info = ''
  const begin = (time: number, level: string): string => `{"time":"${timeText(time)}","level":"${level}","msg":"decision","request_id":"`
  return (time, plain) => {
    if (!plain) return begin(time, 'warn')
    if (time !== last) {
      last = time
      info = flat(begin(time, 'info'))
    }
    return info
  }
}

/** The part about decision, rule and generation, remembered for the generation at hand. */
function createRuleParts(digestOf: (generation: number) => string): (decision: Decision) => string {
  let generation = Number.NaN
  let suffix = ''
  let count = 0
  const allowing = new Map<string, Map<string, string>>()
  const denying = new Map<string, Map<string, string>>()

  function begin(next: number): void {
    const digest = digestOf(next)
    generation = next
    suffix = `,"policy_generation":${next}${digest === '' ? '' : `,"policy_digest":"${jsonText(digest)}"`}`
    count = 0
    allowing.clear()
    denying.clear()
  }

  return ({ allow, policy, rule, generation: current }) => {
    if (current !== generation || count > REMEMBERED_RULES) begin(current)
    const byPolicy = allow ? allowing : denying
    let byRule = byPolicy.get(policy)
    if (byRule === undefined) byPolicy.set(policy, (byRule = new Map()))
    let part = byRule.get(rule)
    if (part === undefined) {
      part = flat(`","decision":"${allow ? 'allow' : 'deny'}",${ruleText(policy, rule)}${suffix}`)
      byRule.set(rule, part)
      count++
    }
    return part
  }
}

/** V8 joins strings lazily: a part that is kept as the tree of its own parts would be walked again for every line. */
function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

function short(text: string, longest: number): string {
  return text.length > longest ? text.slice(0, longest) : text
}

function cutPart({ requestId, method, host, path, detail }: ExchangeEvent): string {
  let cut = ''
  if (requestId.length > LONGEST.request_id) cut += ',"request_id"'
  if (method.length > LONGEST.method) cut += ',"method"'
  if (host.length > LONGEST.host) cut += ',"host"'
  if (path.length > LONGEST.path) cut += ',"path"'
  if (detail.length > LONGEST.detail) cut += ',"detail"'
  return cut === '' ? '' : `,"cut":[${cut.slice(1)}]`
}

function fromPart({ listener, direction, protocol, peer, sourceIp }: ConnectionOrigin): string {
  const peerText = peer === undefined ? '' : peerPart(peer.id.uri, peer.certificate.serial, peer.certificate.notAfter)
  return (
    `,"listener":"${jsonText(short(listener, LONGEST_NAME))}","direction":"${direction}","protocol":"${protocol}"` +
    `,"source_ip":"${jsonText(sourceIp)}"${peerText}`
  )
}

function peerPart(id: string, serial: string, notAfter: number): string {
  return `,"peer":{"id":"${jsonText(id)}","serial":"${jsonText(serial)}","not_after":"${isoTime(notAfter)}"}`
}

function tlsPart({ tls }: ConnectionOrigin): string {
  if (tls === undefined) return ''
  const group = tls.group === '' ? '' : `,"group":"${jsonText(tls.group)}"`
  return `,"tls":{"version":"${jsonText(tls.version)}"${group}}`
}

function ruleText(policy: string, rule: string): string {
  return `"policy":"${jsonText(short(policy, LONGEST_NAME))}","rule":"${jsonText(short(rule, LONGEST_NAME))}"`
}

function shadowPart({ allow, reason, policy, rule }: ShadowVerdict): string {
  const why = reason === undefined ? '' : `,"reason":"${reason}"`
  return `,"shadow":{"decision":"${allow ? 'allow' : 'deny'}",${ruleText(policy, rule)}${why}}`
}
