/** `postern sidecar`: runs the data plane in the foreground until SIGTERM. */
import { randomFillSync } from 'node:crypto'
import type { Server } from 'node:http'
import { resolve } from 'node:path'
import process from 'node:process'
import { createDecisionLog } from '#audit/decision-log'
import { createRing } from '#audit/ring'
import { systemClock } from '#base/clock'
import type { ProbeConfig } from '#config/mesh-document'
import type { SidecarConfig } from '#config/sidecar-config'
import type { SnapshotSource } from '#config/snapshot'
import { createSnapshotSource } from '#config/snapshot-source'
import { createRandomHex } from '#http/random-hex'
import { openAdminServer } from '#proxy/admin'
import { adminSources } from '#proxy/admin-sources'
import { openAssertionKeys } from '#proxy/assertion-keys'
import { createHealthServer, type ReadinessCheck } from '#telemetry/health'
import { lapsedLease } from '#proxy/identity-lease'
import { type Sidecar, startSidecar } from '#proxy/sidecar'
import { listen } from '#base/sockets'
import { formatAddress } from '#base/units'
import { openSvidSource } from '#svid-source/open'
import type { IdentityObserver, SvidSource } from '#svid-source/source'
import { createLog, type Log, type LogLevel, type RootLog } from '#telemetry/log'
import { createMetrics, type Metrics } from '#telemetry/metrics'
import type { WorkloadApi } from '#workload-api/serve'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { openTokenReview } from './token-review.ts'
import type { Mesh } from './mesh.ts'
import { VERSION } from './version.ts'

export const sidecarCommand: Command = {
  summary: 'runs the data plane beside a service',
  help: `Usage: postern sidecar --config FILE [--check] [--log-level LEVEL]

Terminates mutual TLS in front of a service, decides every request by policy, forwards to the app on loopback, and carries the app's
own calls to other services. Decision records go to stdout, one JSON line each; the operational log goes to stderr.

  --config FILE       the sidecar's document (docs/configuration.md)
  --check             reads everything, says what it would do, exits 0 or 2
  --log-level LEVEL   debug, info (default), warn, error

Signals: SIGHUP reads all files again; SIGTERM and SIGINT drain and exit 0; a second one exits at once.

Example:
  postern sidecar --config catalog.yaml
`,
  async run(args, io) {
    const { values } = parseArguments(args, {
      config: { type: 'string' },
      check: { type: 'boolean' },
      'log-level': { type: 'string', default: 'info' },
    })
    if (values.config === undefined) throw usage('`--config FILE` is missing.')
    const level = (['debug', 'info', 'warn', 'error'] as const).find((known) => known === values['log-level'])
    if (level === undefined) throw usage(`\`--log-level ${values['log-level']}\` is none of debug, info, warn, error.`)
    const file = resolve(io.cwd, values.config)
    if (values.check !== true) return run(file, io, level)
    const { checkDocument } = await import('./sidecar-check.ts')
    return checkDocument(file, io)
  },
}

async function run(file: string, io: CommandIo, level: LogLevel): Promise<ExitStatus> {
  const readable = process.stderr.isTTY ? (io.env['NO_COLOR'] === undefined ? 'colour' : 'plain') : undefined
  const log = createLog({
    name: 'postern',
    clock: systemClock,
    random: Math.random,
    level,
    ...(readable === undefined ? {} : { readable }),
  })
  const metrics = createMetrics()
  const servers: Server[] = []
  const signals = untilSignalled(() => void source?.reload(), log)
  const { signal: ended, end } = signals
  let sidecar: Sidecar | undefined
  let source: SnapshotSource | undefined
  let feed: SvidSource | undefined
  let workloadApi: WorkloadApi | undefined
  let mesh: Mesh | undefined

  /** An identity that must be asked for takes its time: meanwhile the process lives, and is not ready. */
  async function openHealth(config: SidecarConfig): Promise<void> {
    const address = config.health
    if (address === undefined || servers.length > 0) return
    const checks = [...readinessOf(() => source), ...meshReadiness(config.mesh, () => mesh)]
    const probes = config.probes.map((probe) => ({ path: probe.path, answer: () => answerProbe(probe) }))
    const health = createHealthServer({ checks, draining: () => sidecar?.draining === true, metrics, log, probes })
    await listen(health, address, 'health')
    servers.push(health)
  }

  async function openIdentity(config: SidecarConfig): Promise<SvidSource> {
    const first = source === undefined
    if (first && config.identity.kind !== 'files') await openHealth(config)
    feed = await openSvidSource(config, {
      clock: systemClock,
      log,
      random: Math.random,
      observe,
      observeFederation,
      signal: signals.aborted,
      endpointSocket: io.env['SPIFFE_ENDPOINT_SOCKET'],
      ...(first ? {} : { patience: PATIENCE }),
    })
    return feed
  }

  const observe = observeIdentity(metrics, () => source)
  const refreshes = metrics.counter({
    name: 'postern_federation_refreshes_total',
    help: 'Answers of bundle endpoints: `ok`, or why the bundle in force stayed.',
    labelNames: ['trust_domain', 'result'],
  })
  const observeFederation = (trustDomain: string, result: string): void => void refreshes.with(trustDomain, result).value++
  try {
    source = await createSnapshotSource({
      file,
      displayFolder: io.cwd,
      clock: systemClock,
      log,
      random: Math.random,
      openIdentity,
      openReview: openTokenReview(systemClock, log),
    })
  } catch (error) {
    await closeAll(servers, log)
    if (signals.aborted.aborted) return 0
    throw error
  }
  const { config } = source.current
  const digestOf = keepDigests(source)
  const decisions = createDecisionLog({
    target: 1,
    clock: systemClock,
    random: Math.random,
    log,
    decisions: config.records.decisions,
    allowedSample: config.records.allowed,
    onOverload: config.records.onOverload,
    digestOf,
  })
  const ring = createRing()
  metrics.recordsDropped(() => decisions.stats)
  const snapshots = source
  metrics.lastReload(() => snapshots.lastReload)
  metrics.buildInfo(VERSION, process.version)
  // A bug of ours: closed, with what is known on record.
  process.once('uncaughtException', (error) => {
    log.fatal({ err: error }, 'this is a bug in Postern; please report it')
    decisions.flushSync()
    process.exit(70)
  })
  try {
    if (config.mesh !== undefined) mesh = await (await import('./mesh.ts')).openMesh(config.mesh, source, log)
    const services = mesh
    const running = await startSidecar({
      source,
      ...(services !== undefined && { services: () => services.services }),
      decisions,
      ring,
      metrics,
      log,
      clock: systemClock,
      random: Math.random,
      randomHex: createRandomHex(randomFillSync),
    })
    sidecar = running
    metrics.observe('postern_live_connections', 'Entries of the registry of live connections.', () => running.registry.size)
    if (config.workloadApi !== undefined) {
      const { openWorkloadApi } = await import('./workload-api.ts')
      workloadApi = await openWorkloadApi(config.workloadApi, source, () => feed, log)
      log.info({ listen: formatAddress(config.workloadApi.listen) }, 'serves the Workload API')
    }
    await openHealth(config)
    if (config.admin !== undefined) {
      const sources = adminSources({
        sidecar: running,
        source,
        ring,
        clock: systemClock,
        digestOf,
        drain: end,
        setLogLevel: (next) => log.setLevel(next),
      })
      servers.push(await openAdminServer({ address: config.admin, sources, log }))
    }
    if (config.assertionKeys !== undefined) {
      const { assertions } = running
      servers.push(await openAssertionKeys({ address: config.assertionKeys, assertions, clock: systemClock, log }))
    }
    for (const { name, port } of running.inbound) log.info({ listen: name, port }, 'takes callers')
    for (const { name, port } of running.outbound) log.info({ listen: name, port }, 'takes calls of the app')
    log.info({ service: config.name, id: source.current.identity.id.uri, snapshot: source.current.shortDigest }, 'ready')
    await ended
    log.info({ connections: running.registry.size }, 'draining')
    await running.drain()
  } finally {
    await workloadApi?.close()
    source.close()
    metrics.close()
    await decisions.close()
    await closeAll(servers, log)
  }
  // What holds the process now is not ours to wait for: a caller that keeps its side open, a handshake that nobody ends.
  setTimeout(() => process.exit(), LEAVE_MS).unref()
  return 0
}

/** Long enough for the last answers to go out, ms. */
const LEAVE_MS = 500

/** Ms that a reload waits for an identity from somewhere else, before the one before stays. */
const PATIENCE = 10_000

async function closeAll(servers: readonly Server[], log: RootLog): Promise<void> {
  for (const server of servers) {
    server.close()
    server.closeAllConnections()
  }
  log.info({}, 'ended')
  await log.close()
}

interface Signals {
  readonly signal: Promise<void>
  /** At the same time as `signal`. */
  readonly aborted: AbortSignal
  readonly end: () => void
}

/** SIGHUP reads again; the first SIGTERM, SIGINT or `end()` resolves `signal`; a second signal exits at once. */
function untilSignalled(reload: () => void, log: Log): Signals {
  const { promise, resolve } = Promise.withResolvers<void>()
  const aborting = new AbortController()
  const end = (): void => {
    aborting.abort()
    resolve()
  }
  let signalled = false
  const onEnd = (name: NodeJS.Signals): void => {
    if (signalled) {
      log.fatal({ signal: name }, 'second signal: exits at once')
      process.exit(1)
    }
    signalled = true
    log.info({ signal: name }, 'asked to end')
    end()
  }
  process.on('SIGTERM', onEnd)
  process.on('SIGINT', onEnd)
  process.on('SIGHUP', () => {
    log.info({}, 'reads all files again')
    reload()
  })
  return { signal: promise, aborted: aborting.signal, end }
}

/** Digests of the latest generations, for records of requests that outlive their snapshot. */
function keepDigests(source: SnapshotSource): (generation: number) => string {
  const digests = new Map([[source.current.generation, source.current.shortDigest]])
  source.subscribe(({ generation, shortDigest }) => {
    digests.set(generation, shortDigest)
    digests.delete(generation - KEPT_DIGESTS)
  })
  return (generation) => digests.get(generation) ?? ''
}

const KEPT_DIGESTS = 100

/** Counts what the source of our identity does. */
function observeIdentity(metrics: Metrics, source: () => SnapshotSource | undefined): IdentityObserver {
  const labelNames = ['result']
  const renewals = metrics.counter({
    name: 'postern_identity_renewals_total',
    help: 'Tries to get a certificate: `ok`, or why not.',
    labelNames,
  })
  const polls = metrics.counter({ name: 'postern_identity_polls_total', help: 'Looks for newer trust: `ok`, or why not.', labelNames })
  metrics.observe('postern_identity_seconds_until_expiry', 'Until our certificate ends; negative once it has.', () => {
    const notAfter = source()?.current.identity.facts.notAfter
    return notAfter === undefined ? 0 : (notAfter - systemClock.now()) / 1000
  })
  return (what, result) => {
    ;(what === 'renewal' ? renewals : polls).with(result).value++
  }
}

/** Before the controller has spoken everything is refused: nobody should send traffic. */
function meshReadiness(config: SidecarConfig['mesh'], mesh: () => Mesh | undefined): readonly ReadinessCheck[] {
  if (config === undefined) return []
  return [
    {
      name: 'mesh',
      run() {
        const opened = mesh()
        const detail = opened === undefined ? 'the controller is not followed yet' : (opened.missing ?? '')
        return { ok: detail === '', detail }
      },
    },
  ]
}

async function answerProbe(probe: ProbeConfig): Promise<{ readonly status: number; readonly text: string }> {
  const { askApp } = await import('#proxy/app-probes')
  const { ok, detail } = await askApp(probe)
  return ok ? { status: 200, text: 'ok\n' } : { status: 503, text: `${detail}\n` }
}

function readinessOf(source: () => SnapshotSource | undefined): readonly ReadinessCheck[] {
  return [
    {
      name: 'identity',
      run() {
        const snapshot = source()?.current
        if (snapshot === undefined) return { ok: false, detail: 'there is none yet: the log says why' }
        const lapsed = lapsedLease(snapshot, systemClock.now())
        const { uri } = snapshot.identity.id
        return { ok: lapsed === undefined, detail: lapsed === undefined ? '' : `${uri}: ${lapsed.reason} ${lapsed.detail}`.trim() }
      },
    },
    {
      // A bad new version is no reason to take a service away that the last good one guards well: it is shown, not failed on.
      name: 'configuration',
      run() {
        const faulty = (source()?.status() ?? []).filter(({ error }) => error !== undefined)
        const detail = faulty.map(({ input, error }) => `the last good version of ${input} is in force, its newest is refused: ${error}`)
        return { ok: true, detail: detail.join('; ') }
      },
    },
  ]
}
