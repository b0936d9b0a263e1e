/** `postern controller`: runs in a Kubernetes cluster until SIGTERM. */
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import process from 'node:process'
import { systemClock } from '#base/clock'
import { PosternError } from '#base/errors'
import { formatProblem } from '#base/located'
import { listen } from '#base/sockets'
import { loadControllerConfiguration } from '#config/controller-document'
import { startController } from '#controller/controller'
import { findKubeAccess } from '#kube/access'
import { createKubeClient } from '#kube/client'
import { openSvidSource } from '#svid-source/open'
import { createHealthServer } from '#telemetry/health'
import { createLog } from '#telemetry/log'
import { createMetrics } from '#telemetry/metrics'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { VERSION } from './version.ts'

export const controllerCommand: Command = {
  summary: 'injects sidecars into pods and gives them their policies (Kubernetes)',
  help: `postern controller: injects sidecars into pods of a Kubernetes cluster, and gives them their policies

Usage: postern controller --config FILE [--log-level LEVEL]

  --config FILE       the controller's document (docs/kubernetes.md)
  --log-level LEVEL   debug, info (default), warn, error

Finds the API server by the pod it runs in, or by KUBECONFIG. \`postern install\` prints all that it needs in a cluster.

Example:
  postern controller --config controller.yaml
`,
  async run(args, io) {
    const { values } = parseArguments(args, { config: { type: 'string' }, 'log-level': { type: 'string', default: 'info' } })
    if (values.config === undefined) throw usage('`--config FILE` is missing.')
    const level = (['debug', 'info', 'warn', 'error'] as const).find((known) => known === values['log-level'])
    if (level === undefined) throw usage(`\`--log-level ${values['log-level']}\` is none of debug, info, warn, error.`)
    return run(resolve(io.cwd, values.config), level, io)
  },
}

async function run(file: string, level: 'debug' | 'info' | 'warn' | 'error', io: CommandIo): Promise<ExitStatus> {
  const { config, problems } = await loadControllerConfiguration({ file, displayFolder: io.cwd })
  if (config === undefined) {
    throw new PosternError('ERR_CONFIG_INVALID', `The controller's document has errors.\n${problems.map(formatProblem).join('\n')}`)
  }
  const log = createLog({ name: 'postern-controller', clock: systemClock, random: Math.random, level })
  const metrics = createMetrics()
  metrics.buildInfo(VERSION, process.version)
  const ending = new AbortController()
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (ending.signal.aborted) process.exit(1)
      log.info({ signal }, 'asked to end')
      ending.abort()
      end()
    })
  }
  const client = createKubeClient(await findKubeAccess(io.env), systemClock)
  let fault: (() => string | undefined) | undefined
  const checks = [
    {
      name: 'mesh',
      run() {
        const detail = fault === undefined ? 'there is no identity yet: the log says why' : (fault() ?? '')
        return { ok: detail === '', detail }
      },
    },
  ]
  const health = createHealthServer({ checks, draining: () => ending.signal.aborted, metrics, log })
  if (config.health !== undefined) await listen(health, config.health, 'spec.health')
  try {
    const feed = await openSvidSource(
      { identity: config.identity, federation: [] },
      { clock: systemClock, log, signal: ending.signal, endpointSocket: io.env['SPIFFE_ENDPOINT_SOCKET'] },
    )
    process.on('SIGHUP', () => void feed.reload())
    const controller = await startController({
      config,
      client,
      feed,
      metrics,
      log,
      clock: systemClock,
      random: Math.random,
      replica: io.env['POD_NAME'] ?? hostname(),
      version: VERSION,
    })
    fault = () => controller.fault
    log.info({ webhook: controller.webhookPort, snapshots: controller.snapshotPort, id: feed.current.identity.id.uri }, 'listens')
    void controller.mesh.ready.then(() => log.info({}, 'ready'))
    await ended
    await controller.close()
    feed.close()
  } finally {
    health.close()
    health.closeAllConnections()
    metrics.close()
    await client.close()
    await log.close()
  }
  return 0
}
