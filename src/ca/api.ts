/** The calls of the API (docs/ca-api.md): who may make each, and what it answers. Knows nothing of sockets. */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { ok, refusal, type Refusal, type Result } from '#base/result'
import { headerValue } from '#http/header-list'
import type { PodCertificateConfig } from '#config/ca-config'
import type { Possession } from '#pki/possession'
import { BACKDATE_MS } from '#pki/svid-profile'
import type { Log } from '#telemetry/log'
import { type ApiAnswer, type ApiRequest, jsonAnswer, refusedAnswer, statusOf } from './api-message.ts'
import { readJwtBody, readPodBody, readTrustBody, readX509Body } from './api-body.ts'
import type { AttestationType, Attested, Attestor } from './attest/attestor.ts'
import { attestPod } from './attest/pod-certificate.ts'
import { attestRenewal } from './attest/svid.ts'
import type { CaMetrics } from './ca-metrics.ts'
import type { CallerLimits } from './caller-limits.ts'
import { skewFault } from './clock-skew.ts'
import type { Issuing } from './issuance.ts'
import type { Published } from './published.ts'
import type { ReturnSlots } from './return-slots.ts'
import type { Issuance, Store } from './store/store.ts'

export interface ApiOptions {
  readonly store: Pick<Store, 'renewLease' | 'fault'>
  readonly published: Pick<Published, 'current'>
  readonly issuing: Issuing
  readonly attestors: ReadonlyMap<AttestationType, Attestor>
  /** Who may ask in the name of pods; undefined: nobody. */
  readonly podCertificate?: PodCertificateConfig | undefined
  /** By SPIFFE ID. */
  readonly limits: CallerLimits
  /** Failed attestations, by IP address. */
  readonly failures: CallerLimits
  readonly slots: ReturnSlots
  /** Requests in work at once. */
  readonly inFlight: number
  /** Ms between two polls of a sidecar. */
  readonly poll: number
  /** Default life of an X509-SVID, ms. */
  readonly svidLife: number
  readonly clock: Clock
  readonly metrics: CaMetrics
  /** Of issuances and refusals, one line each. */
  readonly records: Log
  readonly log: Log
}

export interface Api {
  answer(request: ApiRequest): Promise<ApiAnswer>
  readonly inFlight: number
}

/** Leases last so many polls: one may be lost, and one late. */
const LEASE_POLLS = 3
/** Of a PodCertificateRequest's certificate, ms (API server 1.35 and later). */
const SHORTEST_POD_LIFE = 3_600_000

type Call = (request: ApiRequest) => Promise<ApiAnswer | Refusal> | ApiAnswer | Refusal

export function createApi(options: ApiOptions): Api {
  const { store, published, issuing, attestors, limits, failures, slots, clock, metrics, records, log } = options
  let inFlight = 0

  const calls: Readonly<Record<string, { readonly method: 'GET' | 'POST'; readonly call: Call }>> = {
    '/v1/x509-svid': { method: 'POST', call: x509Svid },
    '/v1/x509-svid-for': { method: 'POST', call: x509SvidFor },
    '/v1/jwt-svid': { method: 'POST', call: jwtSvid },
    '/v1/trust': { method: 'POST', call: trust },
    '/v1/bundle': { method: 'GET', call: bundle },
  }

  async function x509Svid(request: ApiRequest): Promise<ApiAnswer | Refusal> {
    const body = readX509Body(request.body)
    if (!body.ok) return body
    const skewed = skewFault(headerValue(request.headers, 'date'), clock.now(), options.svidLife)
    if (skewed !== undefined) return skewed
    const { attestation, csr, ttl } = body.value
    const attested = attestation === undefined ? renewal(request) : await attest(attestation.type, attestation.token, request.source)
    if (!attested.ok) return attested
    return issue(request, attested.value, csr, ttl)
  }

  async function x509SvidFor(request: ApiRequest): Promise<ApiAnswer | Refusal> {
    const peer = holder(request.caller)
    if (!peer.ok) return peer
    const body = readPodBody(request.body)
    if (!body.ok) return body
    const { pod, request: proof, longest } = body.value
    const attested = attestPod(pod, peer.value, options.podCertificate)
    if (!attested.ok) return attested
    // Kubernetes counts from the certificate's beginning, which is a minute back, and takes none of less than an hour.
    const life = Math.max(SHORTEST_POD_LIFE, Math.min(options.svidLife, longest))
    return issue(request, attested.value, proof, life - BACKDATE_MS)
  }

  async function issue(
    request: ApiRequest,
    attested: Attested,
    proof: string | Possession,
    ttl: number | undefined,
  ): Promise<ApiAnswer | Refusal> {
    const wait = limits.take(attested.id.uri, clock.now())
    if (wait > 0) return tooMany(attested.id.uri, wait)
    const { current } = published
    const issued = await issuing.x509(attested, proof, ttl, current)
    if (!issued.ok) return issued
    const { issuance, svid, renewAt, clamped } = issued.value
    record(request, issuance, clamped)
    const expires = new Date(issuance.notAfter).toISOString()
    const renew = new Date(renewAt).toISOString()
    return jsonAnswer(`{"svid":${JSON.stringify(svid)},"bundle":${current.bundleJson},"expires_at":"${expires}","renew_at":"${renew}"}`)
  }

  function renewal({ caller }: ApiRequest): Result<Attested> {
    const peer = holder(caller)
    return peer.ok ? attestRenewal(peer.value) : peer
  }

  async function attest(type: AttestationType, token: string, source: string): Promise<Result<Attested>> {
    const attestor = attestors.get(type)
    if (attestor === undefined) return refusal('ERR_CA_ATTESTATION_TYPE', `${type} is not under \`spec.attest\``)
    const now = clock.now()
    const wait = failures.wait(source, now)
    if (wait > 0) return tooMany(source, wait)
    const attested = await attestor.attest(token, now)
    if (!attested.ok && statusOf(attested.reason) < 500) failures.take(source, now)
    return attested
  }

  async function jwtSvid(request: ApiRequest): Promise<ApiAnswer | Refusal> {
    const peer = holder(request.caller)
    if (!peer.ok) return peer
    const audiences = readJwtBody(request.body)
    if (!audiences.ok) return audiences
    const attested = attestRenewal(peer.value)
    if (!attested.ok) return attested
    const wait = limits.take(attested.value.id.uri, clock.now())
    if (wait > 0) return tooMany(attested.value.id.uri, wait)
    const issued = await issuing.jwt(attested.value, audiences.value, published.current)
    if (!issued.ok) return issued
    record(request, issued.value.issuance, false)
    const { token, issuance } = issued.value
    return jsonAnswer(JSON.stringify({ token, expires_at: new Date(issuance.notAfter).toISOString() }))
  }

  async function trust(request: ApiRequest): Promise<ApiAnswer | Refusal> {
    const peer = holder(request.caller)
    if (!peer.ok) return peer
    const body = readTrustBody(request.body)
    if (!body.ok) return body
    const { sequence, tainted, bundleJson, revocationsJson } = published.current
    const renewNow = tainted.has(peer.value.certificate.issuerKeyId ?? '')
    await store.renewLease({
      spiffeId: peer.value.id.uri,
      instance: body.value.instance,
      sequence: acknowledged(body.value.sequence, sequence, renewNow),
      expiresAt: clock.now() + LEASE_POLLS * options.poll,
    })
    const pollAfter = options.poll / 1000
    return jsonAnswer(
      `{"sequence":${sequence},"bundle":${bundleJson},"revocations":${revocationsJson},"poll_after":${pollAfter},"renew_now":${renewNow}}`,
    )
  }

  function bundle({ headers }: ApiRequest): ApiAnswer {
    const { bundleText, etag } = published.current
    const common = [
      ['etag', etag],
      ['cache-control', 'no-cache'],
    ] as const
    const asked = headerValue(headers, 'if-none-match')
    // RFC 9110 §13.1.2: compared weakly.
    const isKnown =
      asked !== undefined && (asked.trim() === '*' || asked.split(',').some((each) => each.trim().replace(/^W\//, '') === etag))
    if (isKnown) return { status: 304, contentType: '', headers: common, body: '' }
    return { status: 200, contentType: 'application/json', headers: common, body: bundleText }
  }

  function record({ requestId, source }: ApiRequest, issuance: Issuance, clamped: boolean): void {
    metrics.issued(issuance)
    const { kind, serial, spiffeId, authority, attestedBy, evidence, keyHash, notAfter } = issuance
    records.info(
      {
        request_id: requestId,
        kind,
        id: spiffeId,
        serial,
        authority,
        attested_by: attestedBy,
        evidence,
        key_hash: keyHash,
        not_after: new Date(notAfter).toISOString(),
        ...(clamped && { clamped }),
        source_ip: source,
      },
      'issued',
    )
  }

  function refused(
    request: ApiRequest,
    route: string,
    fault: Refusal,
    more: { status?: number; headers?: ApiAnswer['headers'] } = {},
  ): ApiAnswer {
    const { requestId, source, caller } = request
    metrics.refused(route, fault.reason)
    const id = caller.kind === 'peer' ? caller.peer.id.uri : caller.kind === 'refused' ? caller.id : ''
    const fields = { request_id: requestId, call: route, reason: fault.reason, detail: fault.detail, source_ip: source }
    records.warn({ ...fields, ...(id !== '' && { certificate: id }) }, 'refused')
    const status = more.status ?? statusOf(fault.reason)
    const retryAfter = 'retryAfter' in fault ? Number(fault.retryAfter) : status === 503 ? slots.next(clock.now()) : undefined
    return refusedAnswer({ refusal: fault, requestId, ...more, ...(retryAfter !== undefined && { retryAfter }) })
  }

  async function run(request: ApiRequest, route: string, call: Call): Promise<ApiAnswer> {
    inFlight++
    try {
      const outcome = await call(request)
      return 'ok' in outcome ? refused(request, route, outcome) : outcome
    } catch (error) {
      if (error instanceof PosternError) {
        log.error({ err: error, request_id: request.requestId }, 'a request could not be answered')
        return refused(request, route, refusal(error.code, error.message))
      }
      // One request's failure must not be all others'; what is wrong is on record.
      log.error({ err: error, request_id: request.requestId }, 'this is a bug in Postern; please report it')
      return refused(request, route, refusal('ERR_CA_INTERNAL'))
    } finally {
      inFlight--
    }
  }

  return {
    get inFlight() {
      return inFlight
    },
    async answer(request) {
      const started = clock.monotonic()
      const found = Object.hasOwn(calls, request.path) ? calls[request.path] : undefined
      const route = found === undefined ? 'other' : request.path
      const answer =
        found === undefined
          ? refused(request, route, refusal('ERR_CA_REQUEST', 'there is no such path'), { status: 404 })
          : request.method !== found.method
            ? refused(request, route, refusal('ERR_CA_REQUEST', `this is for ${found.method}`), {
                status: 405,
                headers: [['allow', found.method]],
              })
            : inFlight >= options.inFlight
              ? refused(request, route, refusal('ERR_CA_OVERLOADED', `${inFlight} requests are in work`))
              : await run(request, route, found.call)
      metrics.request(route, answer.status, clock.monotonic() - started)
      return answer
    },
  }
}

/** What a lease says that a sidecar has: who has yet to leave a tainted authority is not there, whatever bundle it has. */
function acknowledged(claimed: number, current: number, renewNow: boolean): number {
  // More than there is was said to it by a store that has been set back since.
  if (claimed > current) return 0
  return renewNow ? Math.min(claimed, current - 1) : claimed
}

function holder(caller: ApiRequest['caller']): Result<Extract<ApiRequest['caller'], { kind: 'peer' }>['peer']> {
  if (caller.kind === 'peer') return ok(caller.peer)
  if (caller.kind === 'nobody') return refusal('ERR_CA_NO_CERTIFICATE')
  return refusal('ERR_CA_CLIENT_CERTIFICATE', `${caller.refusal.reason}${caller.refusal.detail === '' ? '' : `: ${caller.refusal.detail}`}`)
}

interface Delayed extends Refusal {
  /** Whole seconds. */
  readonly retryAfter: number
}

function tooMany(who: string, wait: number): Delayed {
  const seconds = Math.ceil(wait / 1000)
  return { ...refusal('ERR_CA_CALLER_LIMIT', `${who}; come back in ${seconds} s`), retryAfter: seconds }
}
