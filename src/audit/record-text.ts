/** One event as one line of JSON, built from parts prepared per connection and per token. `docs/operations.md` lists every field. */
import type { TokenPrincipal } from '#identity/peer'
import type { ShadowVerdict } from '#policy/decision'
import type { ConnectionOrigin, ExchangeEvent, HandshakeEvent } from './event.ts'
import { jsonHeadText, jsonText } from './json-text.ts'
import { createTimeText, isoTime } from './time-text.ts'

export interface RecordText {
  /** With its newline. */
  exchange(event: ExchangeEvent): string
  handshake(event: HandshakeEvent): string
}

export interface RecordTextOptions {
  readonly digestOf: (generation: number) => string
}

/** Longest texts of the caller's, in characters; what is longer is cut, and its field named under `cut`. */
const LONGEST = { request_id: 128, method: 64, host: 255, path: 1024, detail: 512 } as const
const LONGEST_PRINCIPAL = 2048
const LONGEST_TOKEN_TEXT = 512
/** Names from our own documents. */
const LONGEST_NAME = 256

export function createRecordText({ digestOf }: RecordTextOptions): RecordText {
  const timeText = createTimeText()
  const origins = new WeakMap<ConnectionOrigin, { readonly from: string; readonly tls: string }>()
  const tokens = new WeakMap<TokenPrincipal, string>()
  let generation = Number.NaN
  let generationPart = ''

  function originParts(origin: ConnectionOrigin): { readonly from: string; readonly tls: string } {
    let parts = origins.get(origin)
    if (parts === undefined) {
      parts = { from: fromPart(origin), tls: tlsPart(origin) }
      origins.set(origin, parts)
    }
    return parts
  }

  function tokenPart(token: TokenPrincipal): string {
    let part = tokens.get(token)
    if (part === undefined) {
      const issuer = jsonText(short(token.issuer, LONGEST_TOKEN_TEXT))
      part = `,"token":{"issuer":"${issuer}","subject":"${jsonText(short(token.subject, LONGEST_TOKEN_TEXT))}"}`
      tokens.set(token, part)
    }
    return part
  }

  function generationOf(value: number): string {
    if (value !== generation) {
      const digest = digestOf(value)
      generation = value
      generationPart = `,"policy_generation":${value}${digest === '' ? '' : `,"policy_digest":"${jsonText(digest)}"`}`
    }
    return generationPart
  }

  return {
    exchange(event) {
      const { decision, reason, token } = event
      const { from, tls } = originParts(event.origin)
      const allow = decision !== undefined && decision.allow
      let line =
        `{"time":"${timeText(event.time)}","level":"${reason === undefined && allow ? 'info' : 'warn'}","msg":"decision"` +
        `,"request_id":"${jsonText(short(event.requestId, LONGEST.request_id))}"${from}`
      if (token !== undefined) line += tokenPart(token)
      line +=
        `,"method":"${jsonHeadText(short(event.method, LONGEST.method))}","host":"${jsonHeadText(short(event.host, LONGEST.host))}"` +
        `,"path":"${jsonHeadText(short(event.path, LONGEST.path))}","decision":"${allow ? 'allow' : 'deny'}"`
      if (decision !== undefined) {
        line += `,"policy":"${jsonText(short(decision.policy, LONGEST_NAME))}","rule":"${jsonText(short(decision.rule, LONGEST_NAME))}"`
      }
      if (reason !== undefined) line += `,"reason":"${reason}"`
      if (event.detail !== '') line += `,"detail":"${jsonHeadText(short(event.detail, LONGEST.detail))}"`
      if (decision?.shadow !== undefined) line += shadowPart(decision.shadow)
      line += `,"status":${event.status}`
      if (event.grpcStatus !== undefined) line += `,"grpc_status":${event.grpcStatus}`
      line += `,"bytes_in":${event.bytesIn},"bytes_out":${event.bytesOut}`
      line += `,"duration_us":${Math.round(event.durationUs)},"decide_us":${Math.round(event.decideUs)}${tls}`
      if (decision !== undefined) line += generationOf(decision.generation)
      if (event.traceId !== '') line += `,"trace_id":"${jsonText(short(event.traceId, LONGEST_NAME))}"`
      return `${line}${cutPart(event)}}\n`
    },
    handshake(event) {
      const { presented } = event
      const peer =
        presented === undefined ? '' : peerPart(presented.id.slice(0, LONGEST_PRINCIPAL), presented.serial.slice(0, 64), presented.notAfter)
      const cut = event.detail.length > LONGEST.detail ? ',"cut":["detail"]' : ''
      return (
        `{"time":"${timeText(event.time)}","level":"warn","msg":"handshake","listener":"${jsonText(event.listener)}"` +
        `,"source_ip":"${jsonText(event.sourceIp)}"${peer},"decision":"deny","reason":"${event.reason}"` +
        `,"detail":"${jsonHeadText(event.detail.slice(0, LONGEST.detail))}"${cut}}\n`
      )
    },
  }
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
  return `,"listener":"${jsonText(listener.slice(0, LONGEST_NAME))}","direction":"${direction}","protocol":"${protocol}","source_ip":"${jsonText(sourceIp)}"${peerText}`
}

function peerPart(id: string, serial: string, notAfter: number): string {
  return `,"peer":{"id":"${jsonText(id)}","serial":"${jsonText(serial)}","not_after":"${isoTime(notAfter)}"}`
}

function tlsPart({ tls }: ConnectionOrigin): string {
  return tls === undefined ? '' : `,"tls":{"version":"${jsonText(tls.version)}","group":"${jsonText(tls.group)}"}`
}

function shadowPart({ allow, reason, policy, rule }: ShadowVerdict): string {
  const why = reason === undefined ? '' : `,"reason":"${reason}"`
  const where = `"policy":"${jsonText(policy.slice(0, LONGEST_NAME))}","rule":"${jsonText(rule.slice(0, LONGEST_NAME))}"`
  return `,"shadow":{"decision":"${allow ? 'allow' : 'deny'}",${where}${why}}`
}
