/** `postern check`: the doctor. Named checks in categories; what fails says what to do. */
import { resolve } from 'node:path'
import { systemClock } from '#base/clock'
import type { SidecarConfig } from '#config/sidecar-config'
import { parseArguments, usage } from './arguments.ts'
import { checkApp } from './check/app.ts'
import { CHECKS, type CheckId, type CheckResult } from './check/catalogue.ts'
import { checkConfiguration, checkGroups, checkRuntime } from './check/configuration.ts'
import { type CheckedIdentity, checkFileIdentity } from './check/identity.ts'
import { checkOutbound } from './check/outbound.ts'
import { alpnOf, checkPeer, expectedPeer, peerAddress } from './check/peer.ts'
import { checkSidecar } from './check/sidecar.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'

export const checkCommand: Command = {
  summary: 'says what is wrong with a sidecar and its surroundings',
  help: `postern check: says what is wrong with a sidecar and its surroundings

Usage: postern check [--config FILE] [options]
       postern check --peer ADDRESS [--config FILE] [--expect SPIFFE_ID] [--alpn NAME]
       postern check --cluster [--namespace NAME]

  --config FILE  the sidecar's document; without it only the runtime is looked at
  --peer ADDRESS dials a sidecar and says what is wrong from this side: with the document's own identity, or without any
  --expect ID    who the peer must be; by default, whom the document's \`outbound\` expects at that address, or anybody trusted
  --alpn NAME    http/1.1 (default), h2, or none
  --cluster      looks at the mesh in a Kubernetes cluster, by KUBECONFIG or from inside a pod, and creates nothing
  --namespace N  where its authority and controller run; default postern-system
  --offline      looks at files only: connects to nothing, listens on nothing
  --output json  prints the results as JSON

Looks at the document, policies, certificates, keys and bundles; at the
certificate authority or the Workload API, where identity comes from one, without spending a token; at the sidecar, if one runs; and tries the app (directly, and around
the sidecar) and every destination of outbound calls. \`√\` holds, \`‼\` is a warning, \`×\` has failed, \`-\` could not be looked at.
docs/checks.md has a section for each check.
Exit status: 0 nothing failed, 1 something failed, 2 the document or a policy is wrong.

Example:
  postern check --config catalog.yaml
`,
  run: check,
}

async function check(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const options = {
    config: { type: 'string' },
    offline: { type: 'boolean', default: false },
    peer: { type: 'string' },
    expect: { type: 'string' },
    alpn: { type: 'string', default: 'http/1.1' },
    cluster: { type: 'boolean', default: false },
    namespace: { type: 'string', default: 'postern-system' },
    output: { type: 'string', default: 'text' },
  } as const
  const { values } = parseArguments(args, options)
  if (values.output !== 'json' && values.output !== 'text') throw usage('`--output` takes `json` or `text`.')
  const json = values.output === 'json'
  const file = values.config === undefined ? undefined : resolve(io.cwd, values.config)
  const results: CheckResult[] = []
  let category = ''
  const { peer, expect, alpn } = values
  if (peer === undefined && expect !== undefined) throw usage('`--expect` belongs to `--peer ADDRESS`.')
  if (values.cluster && (peer !== undefined || file !== undefined)) throw usage('`--cluster` goes with neither `--config` nor `--peer`.')
  const checks = values.cluster
    ? checkTheCluster(io, values.namespace)
    : peer === undefined
      ? runChecks(file, values.offline, io)
      : checkPeer({ address: peerAddress(peer), file, cwd: io.cwd, expect: expectedPeer(expect), alpn: alpnOf(alpn) })
  for await (const result of checks) {
    results.push(result)
    if (json) continue
    const text = CHECKS[result.id]
    if (text.category !== category) io.stdout.write(`${category === '' ? '' : '\n'}${text.category}\n${'-'.repeat(text.category.length)}\n`)
    category = text.category
    io.stdout.write(formatResult(result, io.colour))
  }
  const failed = results.filter(({ status }) => status === 'failed')
  if (json) io.stdout.write(`${JSON.stringify(toJson(results), undefined, 2)}\n`)
  else io.stdout.write(`\nStatus check results are ${mark(failed.length > 0 ? 'failed' : 'passed', io.colour)}\n`)
  if (file === undefined && peer === undefined && !values.cluster)
    io.stderr.write('Only the runtime was looked at: name a document with `--config FILE` for the rest.\n')
  if (failed.length === 0) return 0
  return failed.some(({ id }) => id === 'document-valid' || id === 'policies-valid') ? 2 : 1
}

/** In order, each as soon as it is known. What a failed check makes pointless is left out. */
async function* runChecks(file: string | undefined, offline: boolean, { cwd, env }: CommandIo): AsyncGenerator<CheckResult> {
  yield checkRuntime(process.version)
  if (file === undefined) {
    yield checkGroups()
    return
  }
  const { config, results } = await checkConfiguration(file, cwd, systemClock.now())
  yield* results
  if (config === undefined) return
  const own = await checkIdentity(config, offline, env)
  yield* own.results
  if (offline) return
  const sidecar = await checkSidecar(config)
  yield* sidecar.results
  yield* await checkApp(config, sidecar.running)
  yield* await checkOutbound(config, own.identity, () => systemClock.now())
}

async function* checkTheCluster({ env }: CommandIo, namespace: string): AsyncGenerator<CheckResult> {
  const { checkCluster } = await import('./check/cluster.ts')
  yield* checkCluster({ env, namespace })
}

async function checkIdentity(config: SidecarConfig, offline: boolean, env: CommandIo['env']): Promise<CheckedIdentity> {
  if (config.identity.kind === 'files') return checkFileIdentity(config.identity, config, systemClock.now())
  if (config.identity.kind === 'workloadApi') {
    const { checkWorkloadApiIdentity } = await import('./check/workload-api.ts')
    return checkWorkloadApiIdentity(config.identity, env['SPIFFE_ENDPOINT_SOCKET'], offline)
  }
  const { checkCaIdentity } = await import('./check/ca.ts')
  return checkCaIdentity(config.identity, config, offline)
}

function formatResult({ id, status, details }: CheckResult, colour: boolean): string {
  const { title, hint } = CHECKS[id]
  if (status === 'skipped') return `${mark(status, colour)} ${title} (${details.join(' ')})\n`
  if (status === 'passed') return `${mark(status, colour)} ${title}\n`
  const lines = [...details.flatMap((detail) => detail.split('\n')), hint, `see ${anchorOf(id)}`]
  return `${mark(status, colour)} ${title}\n${lines.map((line) => `    ${line}\n`).join('')}`
}

function anchorOf(id: CheckId): string {
  return `docs/checks.md#${id}`
}

const MARKS = { passed: ['√', 32], warning: ['‼', 33], failed: ['×', 31], skipped: ['-', 2] } as const

function mark(status: CheckResult['status'], colour: boolean): string {
  const [sign, code] = MARKS[status]
  return colour ? `\u001B[${code}m${sign}\u001B[0m` : sign
}

function toJson(results: readonly CheckResult[]): unknown {
  const count = (wanted: CheckResult['status']): number => results.filter(({ status }) => status === wanted).length
  return {
    ok: count('failed') === 0,
    failed: count('failed'),
    warnings: count('warning'),
    checks: results.map(({ id, status, details }) => ({
      category: CHECKS[id].category,
      id,
      title: CHECKS[id].title,
      status,
      details,
      ...(status === 'failed' || status === 'warning' ? { hint: CHECKS[id].hint, see: anchorOf(id) } : {}),
    })),
  }
}
