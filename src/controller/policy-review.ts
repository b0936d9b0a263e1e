/**
 * Policies that are written to the cluster, read as a sidecar will read them: what a sidecar would refuse is refused here, with the place in
 * the object (`kubectl` sends no lines) and what was probably meant; what is suspicious is a warning.
 */
import type { LocatedValue, Location, Problem } from '#base/located'
import { lintPolicies } from '#policy/lint'
import { readPolicyDocument } from '#policy/read-document'
import type { TrustDomainObject } from './snapshot/snapshot.ts'
import { readTrustDomain } from './trust-domains.ts'

export interface PolicyVerdict {
  readonly errors: readonly string[]
  readonly warnings: readonly string[]
}

/** @param object a Policy or ClusterPolicy as the API server has it @param now ms since the epoch */
export function reviewPolicy(object: unknown, now: number): PolicyVerdict {
  const { metadata = {} } = (isMembers(object) ? object : {}) as { readonly metadata?: { readonly name?: unknown } }
  const name = typeof metadata.name === 'string' ? metadata.name : 'policy'
  // A ClusterPolicy is the same document, for every namespace.
  const document = isMembers(object) && object['kind'] === 'ClusterPolicy' ? { ...object, kind: 'Policy' } : object
  const reading = readPolicyDocument(located(document, ''), { defaultName: name })
  const errors = reading.problems.filter(({ severity }) => severity === 'error').map(words)
  const lint = reading.document === undefined ? [] : lintPolicies([reading.document], now)
  const warnings = [...reading.problems.filter(({ severity }) => severity === 'warning'), ...lint].map(words)
  return { errors, warnings }
}

export interface PolicyReview {
  readonly apiVersion: 'admission.k8s.io/v1'
  readonly kind: 'AdmissionReview'
  readonly response: {
    readonly uid: string
    readonly allowed: boolean
    readonly status?: { readonly code: number; readonly message: string }
    readonly warnings?: readonly string[]
  }
}

/** The API server cuts warnings at 256 bytes, and drops what goes beyond 4,096 together (source: `warning.go`). */
const LONGEST_WARNING = 256
const MOST_WARNINGS = 16

/** @returns undefined if it is no review: to be answered 400 */
export function answerPolicyReview(review: unknown, now: number, trustDomain = ''): PolicyReview | undefined {
  const request = isMembers(review) ? review['request'] : undefined
  if (!isMembers(request) || typeof request['uid'] !== 'string') return undefined
  const { uid, object, oldObject } = request
  const { errors, warnings } =
    object === null || object === undefined
      ? { errors: [], warnings: [] }
      : isTrustDomainObject(object)
        ? reviewTrustDomain(object, isTrustDomainObject(oldObject) ? oldObject : undefined, trustDomain)
        : reviewPolicy(object, now)
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed: errors.length === 0,
      ...(errors.length > 0 && { status: { code: 422, message: errors.join('\n') } }),
      ...(warnings.length > 0 && { warnings: warnings.slice(0, MOST_WARNINGS).map((warning) => warning.slice(0, LONGEST_WARNING)) }),
    },
  }
}

/** Older than what is stored is refused, unless that cannot be used itself. */
function reviewTrustDomain(object: TrustDomainObject, before: TrustDomainObject | undefined, own: string): PolicyVerdict {
  const last = before === undefined ? undefined : readTrustDomain(before, own, undefined)
  const read = readTrustDomain(object, own, typeof last === 'string' ? undefined : last)
  const { name } = object.metadata
  // A namespace and a service account are of every trust domain that is trusted.
  const words = `callers of ${name} match rules that name no trust_domain: where your own are meant, say \`trust_domain: ${own}\` beside service_account and namespace`
  const isNew = before === undefined && typeof read !== 'string'
  return { errors: typeof read === 'string' ? [read] : [], warnings: isNew ? [words] : [] }
}

function isTrustDomainObject(value: unknown): value is TrustDomainObject {
  return (
    isMembers(value) && value['kind'] === 'TrustDomain' && isMembers(value['metadata']) && typeof value['metadata']['name'] === 'string'
  )
}

/** `spec.rules[1].allow.and[0]: There is no criterion …` */
function words({ at, message, suggestion }: Problem): string {
  const hint = suggestion === undefined ? '' : ` Did you mean \`${suggestion}\`?`
  return `${at.file === '' ? '' : `${at.file}: `}${message}${hint}`
}

/** A plain value with its path in place of file, line and column. */
function located(value: unknown, path: string): LocatedValue {
  const at: Location = { file: path, line: 1, column: 1 }
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item, index) => located(item, `${path}[${index}]`)), at }
  if (isMembers(value)) {
    const entries = Object.entries(value).map(([key, member]) => {
      const inner = path === '' ? key : /^[\w-]+$/.test(key) ? `${path}.${key}` : `${path}['${key}']`
      return { key, keyAt: { ...at, file: inner }, value: located(member, inner) }
    })
    return { kind: 'map', entries, at }
  }
  const isScalar = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
  return { kind: 'scalar', value: isScalar ? value : null, at }
}

function isMembers(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
