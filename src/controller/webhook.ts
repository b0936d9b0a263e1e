/**
 * Reviews of the API server (`admission.k8s.io/v1`): pods get their sidecars. An answer always has the request's uid, whatever happens: one
 * that the API server cannot read would refuse every pod, with words that name nobody.
 */
import { decideInjection } from './inject/decide.ts'
import { injectPod } from './inject/inject.ts'
import { jsonPatch } from './inject/json-patch.ts'
import type { Pod } from './inject/pod.ts'
import type { InjectionSettings } from './inject/settings.ts'

export interface AdmissionResponse {
  readonly apiVersion: 'admission.k8s.io/v1'
  readonly kind: 'AdmissionReview'
  readonly response: {
    readonly uid: string
    readonly allowed: boolean
    readonly patchType?: 'JSONPatch'
    /** Base64. */
    readonly patch?: string
    readonly status?: { readonly code: number; readonly message: string }
    readonly warnings?: readonly string[]
  }
}

export interface ReviewOutcome {
  readonly answer: AdmissionResponse
  readonly namespace: string
  /** For the log: name, or what it will begin with. */
  readonly pod: string
  readonly outcome: 'injected' | 'left' | 'refused'
  readonly notes: readonly string[]
}

/** Longest warning that the API server passes on (it cuts at 256 bytes, source: `warning.go`). */
const LONGEST_WARNING = 256

/**
 * @param review parsed JSON of the request's body
 * @param labelOf value of `postern.dev/inject` on a namespace
 * @returns undefined if it is no review: to be answered 400
 */
export function reviewPod(
  review: unknown,
  settings: InjectionSettings,
  labelOf: (namespace: string) => string | undefined,
): ReviewOutcome | undefined {
  const request = member(review, 'request')
  const uid = member(request, 'uid')
  if (typeof uid !== 'string' || uid === '') return undefined
  const namespaceName = member(request, 'namespace')
  const namespace = typeof namespaceName === 'string' ? namespaceName : ''
  const object = member(request, 'object')
  const operation = member(request, 'operation')
  const isPodCreation = operation === 'CREATE' && member(member(request, 'kind'), 'kind') === 'Pod' && isPod(object)
  if (!isPodCreation) return outcome(uid, namespace, '', 'left', ['it is not the creation of a pod'])
  const name = object.metadata?.name ?? object.metadata?.generateName ?? ''
  const verdict = decideInjection(object, namespace, labelOf(namespace), settings)
  if (verdict.kind === 'leave') return outcome(uid, namespace, name, 'left', [verdict.because])
  if (verdict.kind === 'refuse') return outcome(uid, namespace, name, 'refused', verdict.problems)
  const patch = jsonPatch(object, injectPod(object, verdict.plan, settings))
  // Where the object has no annotations the patch adds them as a whole; metadata itself is always there in a review.
  return outcome(uid, namespace, name, 'injected', verdict.plan.warnings, Buffer.from(JSON.stringify(patch)).toString('base64'))
}

function outcome(
  uid: string,
  namespace: string,
  pod: string,
  kind: ReviewOutcome['outcome'],
  notes: readonly string[],
  patch?: string,
): ReviewOutcome {
  const warnings = kind === 'injected' ? notes.map((note) => `postern: ${note}`.slice(0, LONGEST_WARNING)) : []
  return {
    answer: {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: {
        uid,
        allowed: kind !== 'refused',
        ...(patch !== undefined && { patchType: 'JSONPatch' as const, patch }),
        ...(kind === 'refused' && { status: { code: 422, message: notes.join(' ') } }),
        ...(warnings.length > 0 && { warnings }),
      },
    },
    namespace,
    pod,
    outcome: kind,
    notes,
  }
}

function isPod(object: unknown): object is Pod & Readonly<Record<string, unknown>> {
  const containers = member(member(object, 'spec'), 'containers')
  return Array.isArray(containers) && containers.every((container) => typeof member(container, 'name') === 'string')
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined
}
