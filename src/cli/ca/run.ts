/** `postern ca run`: the authority in the foreground until SIGTERM. */
import { randomFillSync } from 'node:crypto'
import process from 'node:process'
import { systemClock } from '#base/clock'
import { listen } from '#base/sockets'
import { formatAddress } from '#base/units'
import { startCa } from '#ca/ca'
import type { CaConfig } from '#config/ca-config'
import { createRandomHex } from '#http/random-hex'
import { createHealthServer } from '#telemetry/health'
import { createLog, type LogLevel } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'
import { parseArguments, usage } from '../arguments.ts'
import type { Command, CommandIo, ExitStatus } from '../command.ts'
import { VERSION } from '../version.ts'
import { openCaStore, readCaConfig } from './open.ts'

export const runCommand: Command = {
  summary: 'serves workloads',
  help: `Usage: postern ca run --config FILE [--new-store] [--log-level LEVEL]

Serves the authority's API (docs/ca-api.md). One JSON line for every issuance and refusal goes to stdout, the operational log to stderr.
A store that holds no authority yet takes over the one in the folder of the keys, as \`postern ca init\` and \`postern certs init\` make it.

  --config FILE       the document of the authority (docs/ca-configuration.md)
  --new-store         makes the store if it is not there: for an authority that \`postern certs init\` made
  --log-level LEVEL   debug, info (default), warn, error

Signals: SIGTERM and SIGINT end requests in work and exit 0; a second one exits at once. SIGHUP reads the store again now.

Example:
  postern ca run --config ca/ca.yaml
`,
  async run(args, io) {
    const { values } = parseArguments(args, {
      config: { type: 'string' },
      'new-store': { type: 'boolean', default: false },
      'log-level': { type: 'string', default: 'info' },
    })
    const level = (['debug', 'info', 'warn', 'error'] as const).find((known) => known === values['log-level'])
    if (level === undefined) throw usage(`\`--log-level ${values['log-level']}\` is none of debug, info, warn, error.`)
    return serve(await readCaConfig(values.config, io), values['new-store'], io, level)
  },
}

/** Long enough for the last answers to go out, ms. */
const LEAVE_MS = 500

async function serve(config: CaConfig, newStore: boolean, io: CommandIo, level: LogLevel): Promise<ExitStatus> {
  const readable = process.stderr.isTTY ? (io.env['NO_COLOR'] === undefined ? 'colour' : 'plain') : undefined
  const common = { clock: systemClock, random: Math.random, level }
  const log = createLog({ name: 'postern-ca', ...common, ...(readable === undefined ? {} : { readable }) })
  const records = createLog({ name: 'ca', ...common, target: 1 })
  const metrics = createMetrics()
  metrics.buildInfo(VERSION, process.version)
  // A bug of ours: closed, with what is known on record.
  process.once('uncaughtException', (error) => {
    log.fatal({ err: error }, 'this is a bug in Postern; please report it')
    process.exit(70)
  })
  await using stack = new AsyncDisposableStack()
  stack.defer(() => log.close())
  stack.defer(() => records.close())
  stack.defer(() => metrics.close())
  const store = stack.use(await openCaStore(config, 'server', newStore))
  const randomHex = createRandomHex(randomFillSync)
  const ca = await startCa({ config, store, clock: systemClock, log, records, metrics, random: Math.random, randomHex })
  const ended = untilSignalled((name) => {
    log.fatal({ signal: name }, 'second signal: exits at once')
    process.exit(1)
  })
  process.on('SIGHUP', () => {
    log.info({}, 'reads the store again')
    ca.refresh().catch((error: unknown) => log.error({ err: error }, 'the store cannot be read'))
  })
  if (config.health !== undefined) {
    const health = createHealthServer({ checks: ca.checks, draining: () => ca.draining, metrics, log })
    await listen(health, config.health, 'spec.health')
    stack.defer(() => {
      health.close()
      health.closeAllConnections()
    })
  }
  log.info({ listen: formatAddress({ ...config.listen, port: ca.port }), id: ca.id, sequence: ca.publication.sequence }, 'ready')
  log.info({ signal: await ended }, 'asked to end')
  await ca.close()
  log.info({}, 'ended')
  // What holds the process now is not ours to wait for.
  setTimeout(() => process.exit(), LEAVE_MS).unref()
  return 0
}

function untilSignalled(second: (name: NodeJS.Signals) => void): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>()
  let signalled = false
  const onEnd = (name: NodeJS.Signals): void => {
    if (signalled) return second(name)
    signalled = true
    resolve(name)
  }
  process.on('SIGTERM', onEnd)
  process.on('SIGINT', onEnd)
  return promise
}
