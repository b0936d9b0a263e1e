/** Every metric of the data plane under its name. `docs/operations.md` lists them. */
import type { Exposition } from './exposition.ts'
import { createCounterFamily, createGaugeFamily } from './families.ts'
import type { Family, FamilyOptions, ValueFamily } from './families.ts'
import { createProcessMetrics } from './process-metrics.ts'
import { createRequestMetrics } from './request-metrics.ts'
import type { ListenerMetrics, PeerMetrics } from './request-metrics.ts'

export type { ListenerMetrics, PeerMetrics } from './request-metrics.ts'

export interface RecordLosses {
  readonly droppedAllowed: number
  readonly droppedRefused: number
}

export interface Reload {
  readonly successful: boolean
  /** Ms since the epoch. */
  readonly at: number
}

export interface Metrics {
  listener(name: string, protocol: string): ListenerMetrics
  /** A peer without `/ns/…/sa/…` has empty labels. Beyond 99 service accounts the rest is `other`. */
  readonly peer: (namespace: string | undefined, serviceAccount: string | undefined) => PeerMetrics
  /** @param certificate `own` for our SVID, else what it is for. @param notAfter ms since the epoch */
  certificateExpiry(certificate: string, notAfter: number): void
  /** Roots in force by trust domain; domains not named are forgotten. */
  bundleRoots(roots: ReadonlyMap<string, number>): void
  policyRules(count: number): void
  /** Where the outcome of the last reading of the configuration is read at each scrape. */
  lastReload(read: () => Reload): void
  buildInfo(version: string, node: string): void
  /** Where the losses of the decision log are read at each scrape. */
  recordsDropped(read: () => RecordLosses): void
  /** A counter of the caller's own. @param options `name` with `postern_` and `_total` */
  counter(options: FamilyOptions): ValueFamily
  gauge(options: FamilyOptions): ValueFamily
  /** A gauge without labels that is read at each scrape, e.g. the size of a table. */
  observe(name: string, help: string, read: () => number): void
  /** The text of one scrape. */
  render(): Promise<Exposition>
  /** Ends the sampling of the event loop. */
  close(): void
}

export function createMetrics(): Metrics {
  const requests = createRequestMetrics()
  const own = createProcessMetrics()
  const families: Family[] = [...requests.families, ...own.families]
  const reads: (() => void)[] = []
  function register<F extends Family>(family: F): F {
    if (families.some(({ name }) => name === family.name)) throw new TypeError(`the metric ${family.name} exists already`)
    families.push(family)
    return family
  }
  const counter = (options: FamilyOptions): ValueFamily => register(createCounterFamily(options))
  const gauge = (options: FamilyOptions): ValueFamily => register(createGaugeFamily(options))

  const expiries = gauge({
    name: 'postern_certificate_expiry_timestamp_seconds',
    help: 'End of a certificate in use; `own` is that of this workload.',
    labelNames: ['certificate'],
  })
  const roots = gauge({ name: 'postern_bundle_roots', help: 'Trusted roots by trust domain.', labelNames: ['trust_domain'] })
  const rules = gauge({ name: 'postern_policy_rules', help: 'Policy rules in force.' })
  const reloadSuccessful = gauge({
    name: 'postern_config_last_reload_successful',
    help: '1 if the newest configuration is in force, 0 if it was refused and an older one still is.',
  })
  const reloadTime = gauge({
    name: 'postern_config_last_reload_success_timestamp_seconds',
    help: 'When configuration last went into force.',
  })
  const dropped = counter({
    name: 'postern_records_dropped_total',
    help: 'Decision records lost because nothing took them.',
    labelNames: ['decision'],
  })
  const build = gauge({
    name: 'postern_build_info',
    help: 'Always 1; the versions of Postern and of Node.',
    labelNames: ['version', 'node'],
  })

  return {
    listener: (name, protocol) => requests.listener(name, protocol),
    peer: (namespace, serviceAccount) => requests.peer(namespace, serviceAccount),
    certificateExpiry: (certificate, notAfter) => void (expiries.with(certificate).value = notAfter / 1000),
    bundleRoots(current) {
      for (const { labels } of roots.samples()) roots.remove(String(labels['trust_domain']))
      for (const [trustDomain, count] of current) roots.with(trustDomain).value = count
    },
    policyRules: (count) => void (rules.with().value = count),
    lastReload(read) {
      const [outcome, time] = [reloadSuccessful.with(), reloadTime.with()]
      reads.push(() => {
        const { successful, at } = read()
        outcome.value = successful ? 1 : 0
        if (successful) time.value = at / 1000
      })
    },
    buildInfo: (version, node) => void (build.with(version, node).value = 1),
    recordsDropped(read) {
      const allowed = dropped.with('allow')
      const refused = dropped.with('deny')
      reads.push(() => {
        const losses = read()
        allowed.value = losses.droppedAllowed
        refused.value = losses.droppedRefused
      })
    },
    counter,
    gauge,
    observe(name, help, read) {
      const child = gauge({ name, help }).with()
      reads.push(() => void (child.value = read()))
    },
    async render() {
      for (const read of reads) read()
      const { exposition } = await import('./exposition.ts')
      return exposition(families)
    },
    close: () => own.close(),
  }
}
