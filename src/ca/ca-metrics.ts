/** What the CA counts, `postern_ca_…`. docs/certificate-authority.md lists it. */
import type { ReasonCode } from '#base/reasons'
import type { Metrics } from '#telemetry/metrics'
import type { Publication } from './publication.ts'
import type { Issuance } from './store/store.ts'

export interface CaMetrics {
  issued(issuance: Issuance): void
  refused(route: string, reason: ReasonCode): void
  request(route: string, status: number, milliseconds: number): void
  handshakeRefused(reason: string): void
  published(publication: Publication): void
  ownCertificate(notAfter: number): void
}

export interface CaMetricSources {
  readonly now: () => number
  readonly connections: () => number
  readonly inFlight: () => number
  readonly storeUp: () => boolean
  readonly publication: () => Publication
  /** End of the CA's own certificate, ms since the epoch. */
  readonly ownNotAfter: () => number
}

export function createCaMetrics(metrics: Metrics, sources: CaMetricSources): CaMetrics {
  const issued = metrics.counter({
    name: 'postern_ca_issuances_total',
    help: 'SVIDs handed out, by kind and by how their holder was attested.',
    labelNames: ['kind', 'attested_by'],
  })
  const refused = metrics.counter({
    name: 'postern_ca_refusals_total',
    help: 'Requests refused, by call and reason.',
    labelNames: ['route', 'reason'],
  })
  const requests = metrics.counter({
    name: 'postern_ca_requests_total',
    help: 'Requests answered, by call and status.',
    labelNames: ['route', 'status'],
  })
  const seconds = metrics.counter({
    name: 'postern_ca_request_seconds_total',
    help: 'Time from the last byte of a request to its answer, summed by call.',
    labelNames: ['route'],
  })
  const handshakes = metrics.counter({
    name: 'postern_ca_handshakes_refused_total',
    help: 'TLS handshakes that failed or were refused.',
    labelNames: ['reason'],
  })
  const authorities = metrics.gauge({
    name: 'postern_ca_authority_expiry_timestamp_seconds',
    help: 'End of each authority that is not revoked.',
    labelNames: ['kind', 'state', 'authority'],
  })
  metrics.observe('postern_ca_connections', 'Open connections.', sources.connections)
  metrics.observe('postern_ca_requests_in_flight', 'Requests in work.', sources.inFlight)
  metrics.observe('postern_ca_store_up', '1 while the store can be written, else 0.', () => (sources.storeUp() ? 1 : 0))
  metrics.observe('postern_ca_bundle_sequence', 'Sequence of the bundle in force.', () => sources.publication().sequence)
  metrics.observe('postern_ca_revocations', 'Revocations in force.', () => sources.publication().revocations.length)
  metrics.observe(
    'postern_ca_seconds_until_first_identity_expires',
    'Seconds until the first of what the CA lives by ends: the active authorities and its own certificate.',
    () => secondsLeft(sources),
  )

  return {
    issued: ({ kind, attestedBy }) => void issued.with(kind, attestedBy).value++,
    refused: (route, reason) => void refused.with(route, reason).value++,
    request(route, status, milliseconds) {
      requests.with(route, String(status)).value++
      seconds.with(route).value += milliseconds / 1000
    },
    handshakeRefused: (reason) => void handshakes.with(reason).value++,
    published(publication) {
      for (const { labels } of authorities.samples())
        authorities.remove(String(labels['kind']), String(labels['state']), String(labels['authority']))
      for (const { kind, state, id, notAfter } of publication.authorities)
        if (state !== 'revoked') authorities.with(kind, state, id).value = notAfter / 1000
      metrics.bundleRoots(new Map([[publication.bundle.trustDomain, publication.bundle.roots.length]]))
    },
    ownCertificate: (notAfter) => metrics.certificateExpiry('own', notAfter),
  }
}

function secondsLeft({ publication, ownNotAfter, now }: CaMetricSources): number {
  const active = publication().authorities.filter(({ state }) => state === 'active')
  const ends = [ownNotAfter(), ...active.map(({ notAfter }) => notAfter)]
  return (Math.min(...ends) - now()) / 1000
}
