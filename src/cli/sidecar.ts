/** `postern sidecar`: runs the data plane in the foreground until SIGTERM. */
import { randomFillSync } from 'node:crypto'
import type { Server } from 'node:http'
import { resolve } from 'node:path'
import process from 'node:process'
import { createDecisionLog } from '#audit/decision-log'
import { createRing } from '#audit/ring'
import { systemClock } from '#base/clock'
import { formatAddress } from '#base/units'
import type { Snapshot, SnapshotSource } from '#config/snapshot'
import { createSnapshotSource } from '#config/snapshot-source'
import { createRandomHex } from '#http/random-hex'
import { openAdminServer } from '#proxy/admin'
import { adminSources } from '#proxy/admin-sources'
import { createHealthServer, type ReadinessCheck } from '#telemetry/health'
import { startSidecar } from '#proxy/sidecar'
import { listen } from '#base/sockets'
import { openSvidSource } from '#svid-source/open'
import { createLog, type Log, type LogLevel } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
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
    return values.check === true ? check(file, io) : run(file, io, level)
  },
}

async function check(file: string, io: CommandIo): Promise<ExitStatus> {
  const log = createLog({ name: 'check', clock: systemClock, random: Math.random, level: 'silent' })
  const source = await openSource(file, io, log)
  io.stdout.write(describe(source.current))
  source.close()
  return 0
}

function openSource(file: string, io: CommandIo, log: Log): ReturnType<typeof createSnapshotSource> {
  return createSnapshotSource({
    file,
    displayFolder: io.cwd,
    clock: systemClock,
    log,
    openIdentity: (config) => openSvidSource(config, { clock: systemClock, log }),
  })
}

/** What the sidecar would do, one line a thing. */
function describe({ config, identity, trust, policies, documents, shortDigest }: Snapshot): string {
  const lines = [
    `${config.name} is ${identity.id.uri} until ${new Date(identity.facts.notAfter).toISOString()}`,
    `trusts ${[...trust.bundles.values()].map((bundle) => `${bundle.trustDomain} (${bundle.roots.length} roots)`).join(', ')}`,
    ...config.inbound.map(
      ({ listen: at, app, protocol }, index) =>
        `takes ${protocol} on ${formatAddress(at)} for ${formatAddress(app)} under ${policies[index]?.rules ?? 0} rules`,
    ),
    ...config.outbound.map(
      ({ listen: at, to, peer }) =>
        `carries ${formatAddress(at)} to ${to.map(formatAddress).join(', ')}, expecting ${peer.map((id) => id.uri).join(' or ')}`,
    ),
    `reads ${documents.length} policies; snapshot ${shortDigest}`,
  ]
  return `${lines.join('\n')}\n`
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
  const source = await openSource(file, io, log)
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
  const metrics = createMetrics()
  metrics.recordsDropped(() => decisions.stats)
  metrics.lastReload(() => source.lastReload)
  metrics.buildInfo(VERSION, process.version)
  const { signal: ended, end } = untilSignalled(source, log)
  // A bug of ours: closed, with what is known on record.
  process.once('uncaughtException', (error) => {
    log.fatal({ err: error }, 'this is a bug in Postern; please report it')
    decisions.flushSync()
    process.exit(70)
  })
  const servers: Server[] = []
  try {
    const sidecar = await startSidecar({
      source,
      decisions,
      ring,
      metrics,
      log,
      clock: systemClock,
      random: Math.random,
      randomHex: createRandomHex(randomFillSync),
    })
    metrics.observe('postern_live_connections', 'Entries of the registry of live connections.', () => sidecar.registry.size)
    if (config.health !== undefined) {
      const health = createHealthServer({ checks: readinessOf(source), draining: () => sidecar.draining, metrics, log })
      await listen(health, config.health, 'health')
      servers.push(health)
    }
    if (config.admin !== undefined) {
      const sources = adminSources({
        sidecar,
        source,
        ring,
        clock: systemClock,
        digestOf,
        drain: end,
        setLogLevel: (next) => log.setLevel(next),
      })
      servers.push(await openAdminServer({ address: config.admin, sources, log }))
    }
    for (const { name, port } of sidecar.inbound) log.info({ listen: name, port }, 'takes callers')
    for (const { name, port } of sidecar.outbound) log.info({ listen: name, port }, 'takes calls of the app')
    log.info({ service: config.name, id: source.current.identity.id.uri, snapshot: source.current.shortDigest }, 'ready')
    await ended
    log.info({ connections: sidecar.registry.size }, 'draining')
    await sidecar.drain()
  } finally {
    for (const server of servers) {
      server.close()
      server.closeAllConnections()
    }
    source.close()
    metrics.close()
    await decisions.close()
    log.info({}, 'ended')
    await log.close()
  }
  // What holds the process now is not ours to wait for: a caller that keeps its side open, a handshake that nobody ends.
  setTimeout(() => process.exit(), LEAVE_MS).unref()
  return 0
}

/** Long enough for the last answers to go out, ms. */
const LEAVE_MS = 500

/** SIGHUP reads again; the first SIGTERM, SIGINT or `end()` resolves `signal`; a second signal exits at once. */
function untilSignalled(source: SnapshotSource, log: Log): { readonly signal: Promise<void>; readonly end: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let signalled = false
  const onEnd = (name: NodeJS.Signals): void => {
    if (signalled) {
      log.fatal({ signal: name }, 'second signal: exits at once')
      process.exit(1)
    }
    signalled = true
    log.info({ signal: name }, 'asked to end')
    resolve()
  }
  process.on('SIGTERM', onEnd)
  process.on('SIGINT', onEnd)
  process.on('SIGHUP', () => {
    log.info({}, 'reads all files again')
    void source.reload()
  })
  return { signal: promise, end: resolve }
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

function readinessOf(source: SnapshotSource): readonly ReadinessCheck[] {
  return [
    {
      name: 'identity',
      run() {
        const { facts, id } = source.current.identity
        const ended = facts.notAfter <= systemClock.now()
        return { ok: !ended, detail: ended ? `the certificate of ${id.uri} ended at ${new Date(facts.notAfter).toISOString()}` : '' }
      },
    },
    {
      // A bad new version is no reason to take a service away that the last good one guards well: it is shown, not failed on.
      name: 'configuration',
      run() {
        const faulty = source.status().filter(({ error }) => error !== undefined)
        const detail = faulty.map(({ input, error }) => `the last good version of ${input} is in force, its newest is refused: ${error}`)
        return { ok: true, detail: detail.join('; ') }
      },
    },
  ]
}
