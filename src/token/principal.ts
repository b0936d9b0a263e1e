/** Who a token is about, by its kind: a Kubernetes service account (KEP-1205), a SPIFFE workload (JWT-SVID §3) or a user of OpenID Connect. */
import { ok, refusal, type Result } from '#base/result'
import type { NamedObject } from '#identity/peer'
import { parseSpiffeId } from '#identity/spiffe-id'
import type { JsonObject } from './bounded-json.ts'

export const TOKEN_KINDS = ['serviceAccount', 'jwtSvid', 'oidc'] as const

export type TokenKind = (typeof TOKEN_KINDS)[number]

export interface TokenSubject {
  readonly subject: string
  readonly namespace: string | undefined
  readonly serviceAccount: string | undefined
  readonly trustDomain: string | undefined
  readonly pod: NamedObject | undefined
  readonly node: NamedObject | undefined
}

/** As long as a SPIFFE ID may be: it goes into records and into a header for the app. */
const LONGEST_SUBJECT = 2048

/** RFC 1123 labels, as Kubernetes names namespaces; service accounts may have dots. */
const SERVICE_ACCOUNT = /^system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/

/**
 * @param trustDomain the one whose workloads the issuer speaks of. JWT-SVIDs must be of it.
 * Refused with `ERR_TOKEN_SUBJECT`.
 */
export function readSubject(kind: TokenKind, claims: JsonObject, trustDomain: string | undefined): Result<TokenSubject> {
  const { sub } = claims
  if (sub !== undefined && typeof sub !== 'string') return wrong('`sub` is not a string')
  if (sub !== undefined && sub.length > LONGEST_SUBJECT) return wrong(`\`sub\` is longer than ${LONGEST_SUBJECT} characters`)
  const nobody = { subject: sub ?? '', namespace: undefined, serviceAccount: undefined, trustDomain, pod: undefined, node: undefined }
  if (kind === 'serviceAccount') return readServiceAccount(nobody, claims['kubernetes.io'])
  if (kind === 'jwtSvid') return readSpiffeSubject(nobody)
  // Another issuer may name its users as it likes: `system:serviceaccount:…` of an OIDC issuer is no service account.
  return ok({ ...nobody, trustDomain: undefined })
}

function readServiceAccount(nobody: TokenSubject, details: unknown): Result<TokenSubject> {
  const [, namespace, serviceAccount] = SERVICE_ACCOUNT.exec(nobody.subject) ?? []
  if (namespace === undefined || serviceAccount === undefined) return wrong('`sub` is not `system:serviceaccount:NAMESPACE:NAME`')
  const bound = members(details)
  if (bound === undefined) return wrong('there is no claim `kubernetes.io`: not a projected service-account token')
  if (bound['namespace'] !== namespace || members(bound['serviceaccount'])?.['name'] !== serviceAccount) {
    return wrong('`kubernetes.io` is of another service account than `sub`')
  }
  return ok({ ...nobody, namespace, serviceAccount, pod: namedObject(bound['pod']), node: namedObject(bound['node']) })
}

function readSpiffeSubject(nobody: TokenSubject): Result<TokenSubject> {
  const id = parseSpiffeId(nobody.subject)
  if (!id.ok) return wrong(`\`sub\` is not a SPIFFE ID: ${id.detail}`)
  const { trustDomain, path, namespace, serviceAccount } = id.value
  if (trustDomain !== nobody.trustDomain) return wrong(`\`sub\` is of ${trustDomain}, whose keys these are not`)
  if (path === '') return wrong('`sub` names a trust domain, not a workload')
  return ok({ ...nobody, namespace, serviceAccount })
}

function members(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
}

function namedObject(value: unknown): NamedObject | undefined {
  const object = members(value)
  const name = object?.['name']
  const uid = object?.['uid']
  return typeof name === 'string' ? { name, uid: typeof uid === 'string' ? uid : undefined } : undefined
}

function wrong(detail: string): Result<never> {
  return refusal('ERR_TOKEN_SUBJECT', detail)
}
