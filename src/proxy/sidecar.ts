/** The data plane put together: listeners, registry and its tick, reloads, drain. Configuration comes in as snapshots. */
import type { DecisionLog } from '#audit/decision-log'
import type { Ring } from '#audit/ring'
import type { Clock } from '#base/clock'
import { formatAddress } from '#base/units'
import type { Snapshot, SnapshotSource } from '#config/snapshot'
import type { RandomHex } from '#http/random-hex'
import type { ServiceTable } from '#mesh-agent/service-table'
import type { Log } from '#telemetry/log'
import type { Metrics } from '#telemetry/metrics'
import { type AssertionSigner, createAssertionSigner } from '#token/assertion'
import { type InboundListener, openInboundListener } from './inbound-listener.ts'
import type { Surroundings } from './inbound-state.ts'
import { groupByListen, openOutboundListener, type OutboundListener } from './outbound-listener.ts'
import { createPlaintextCallers, type PlaintextCallers } from './plaintext.ts'
import { createRegistry, type Registry } from './registry.ts'

export interface SidecarOptions {
  readonly source: SnapshotSource
  readonly decisions: DecisionLog
  readonly ring: Ring
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  readonly random: () => number
  readonly randomHex: RandomHex
  /** The services of the mesh as they are now, for redirected calls. */
  readonly services?: () => ServiceTable
}

export interface Sidecar {
  readonly inbound: readonly InboundListener[]
  readonly outbound: readonly OutboundListener[]
  readonly registry: Registry
  /** Who came without TLS, where a listener takes such. */
  readonly plaintext: PlaintextCallers
  readonly assertions: AssertionSigner
  readonly draining: boolean
  /** Takes nothing new and resolves when all that runs has ended, at the latest after `drain` of the document. */
  drain(): Promise<void>
  /** Ends everything now. */
  close(): void
}

const TICK_MS = 1000
/** Label values of addresses; others count as `other`. */
const COUNTED_ADDRESSES = 99

/** @throws PosternError ERR_LISTEN if an address cannot be had; nothing is left open then */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { source, metrics, log, clock } = options
  const registry = createRegistry(clock.now(), clock)
  const assertions = createAssertionSigner()
  const surroundings: Surroundings = {
    registry,
    clock,
    randomHex: options.randomHex,
    log: options.decisions,
    ring: options.ring,
    assertions,
  }
  const { config } = source.current
  const withoutTls = metrics.counter({
    name: 'postern_plaintext_connections_total',
    help: 'Connections without TLS to listeners that take such, by source address; `other` once 99 are known.',
    labelNames: ['listener', 'source_ip'],
  })
  const counted = new Set<string>()
  const plaintext = createPlaintextCallers((listener, sourceIp) => {
    const isKnown = counted.has(sourceIp) || counted.size < COUNTED_ADDRESSES
    if (isKnown) counted.add(sourceIp)
    withoutTls.with(listener, isKnown ? sourceIp : 'other').value++
  })
  const inbound: InboundListener[] = []
  const outbound: OutboundListener[] = []

  function closeListeners(): void {
    for (const listener of [...inbound, ...outbound]) listener.close()
  }

  try {
    for (const [index, entry] of config.inbound.entries()) {
      const name = formatAddress(entry.listen)
      inbound.push(
        await openInboundListener({
          ...surroundings,
          index,
          snapshot: source.current,
          plaintext,
          metrics: metrics.listener(name, entry.protocol),
          peerMetrics: metrics.peer,
        }),
      )
    }
    for (const entries of groupByListen(config.outbound)) {
      const [first] = entries
      if (first === undefined) continue
      outbound.push(
        await openOutboundListener({
          ...surroundings,
          listen: first.listen,
          entries,
          snapshot: source.current,
          metrics: metrics.listener(formatAddress(first.listen), first.protocol),
          random: options.random,
        }),
      )
    }
    const { mesh } = config
    const { services } = options
    if (mesh?.redirect !== undefined && services !== undefined) {
      const { loadOriginalDestination } = await import('./original-destination.ts')
      const { openRedirectListener } = await import('./redirect-listener.ts')
      outbound.push(
        await openRedirectListener({
          ...surroundings,
          config: mesh.redirect,
          services,
          readDestination: await loadOriginalDestination(),
          snapshot: source.current,
          metrics: metrics.listener(formatAddress(mesh.redirect.listen), 'tcp'),
          random: options.random,
        }),
      )
    }
  } catch (error) {
    closeListeners()
    throw error
  }

  publish(metrics, source.current)
  const unsubscribe = source.subscribe((next) => {
    for (const listener of [...inbound, ...outbound]) listener.apply(next)
    publish(metrics, next)
    registry
      .revalidate(next, clock.now())
      .catch((error: unknown) => log.error({ err: error }, 'live connections could not be looked at again'))
  })

  let ticking = false
  const timer = setInterval(() => {
    if (ticking) return
    ticking = true
    const now = clock.now()
    for (const listener of outbound) listener.tick(now)
    registry.tick(now).then(
      () => {
        ticking = false
      },
      (error: unknown) => {
        ticking = false
        log.error({ err: error }, 'the tick failed')
      },
    )
  }, TICK_MS)

  let draining: Promise<void> | undefined

  async function drain(): Promise<void> {
    closeListeners()
    registry.drain()
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const deadline = setTimeout(resolve, source.current.config.drain)
    await Promise.race([registry.empty(), late])
    clearTimeout(deadline)
    if (registry.size > 0) log.warn({ connections: registry.size }, 'the drain time is over: what still runs is cut')
    registry.cutAll()
    end()
  }

  function end(): void {
    unsubscribe()
    clearInterval(timer)
    for (const listener of outbound) listener.closePools()
  }

  return {
    inbound,
    outbound,
    registry,
    plaintext,
    assertions,
    get draining() {
      return draining !== undefined
    },
    drain() {
      draining ??= drain()
      return draining
    },
    close() {
      closeListeners()
      registry.cutAll()
      end()
    },
  }
}

function publish(metrics: Metrics, { identity, trust, policies }: Snapshot): void {
  metrics.certificateExpiry('own', identity.facts.notAfter)
  metrics.bundleRoots(new Map([...trust.bundles.values()].map((bundle) => [bundle.trustDomain, bundle.roots.length])))
  metrics.policyRules(Math.max(0, ...policies.map((policy) => policy.rules)))
}
