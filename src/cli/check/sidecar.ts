/** Checks of the sidecar itself: whether it could start here, or, where one runs already, how it does. */
import { request } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import { PosternError } from '#base/errors'
import { type Address, formatAddress } from '#base/units'
import type { SidecarConfig } from '#config/sidecar-config'
import { askAdmin } from '../admin-client.ts'
import { type CheckResult, judged, passed, skipped } from './catalogue.ts'
import { explainConnect, listenFault, probe } from './probe.ts'

export interface CheckedSidecar {
  readonly results: readonly CheckResult[]
  /** The sidecar of this document runs, as far as can be told. */
  readonly running: boolean
}

/** What runs with this document's addresses. */
type Found =
  | { readonly kind: 'ours'; readonly answer: RunningConfig }
  /** Something answers, and tells nothing. */
  | { readonly kind: 'mute' }
  | { readonly kind: 'foreign'; readonly why: string }
  | { readonly kind: 'none' }

/** What `/v1/config` tells, as far as it is looked at. */
interface RunningConfig {
  readonly inputs: readonly { readonly input: string; readonly error?: string }[]
  readonly last_reload: { readonly successful: boolean }
  readonly document: { readonly file: string; readonly inbound: unknown; readonly outbound: unknown }
}

const TIMEOUT = 5_000

export async function checkSidecar(config: SidecarConfig): Promise<CheckedSidecar> {
  const found = await findSidecar(config)
  if (found.kind === 'ours') {
    const listens = passed('listen-addresses', 'The sidecar that runs listens on them.')
    const newest = checkNewest(found.answer, config)
    return { running: true, results: [passed('admin-answers'), listens, newest, await checkHealth(config.health)] }
  }
  if (found.kind === 'mute') {
    const why = 'a sidecar runs, and its admin address is off'
    const results = (['admin-answers', 'listen-addresses', 'newest-in-force'] as const).map((id) => skipped(id, why))
    return { running: true, results: [...results, await checkHealth(config.health)] }
  }
  const isForeign = found.kind === 'foreign'
  const why = isForeign ? 'who answers is no sidecar of this document' : 'no sidecar runs'
  const admin = isForeign ? judged('admin-answers', [found.why], 'warning') : skipped('admin-answers', why)
  const rest = [await checkListen(config), skipped('newest-in-force', why), skipped('health-answers', why)]
  return { running: false, results: [admin, ...rest] }
}

async function findSidecar({ admin, health, file }: SidecarConfig): Promise<Found> {
  if (admin === undefined) {
    const alive = health !== undefined && (await get(health, '/livez').catch(() => undefined))?.text === 'ok\n'
    return { kind: alive ? 'mute' : 'none' }
  }
  const code = await probe(admin)
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return { kind: 'none' }
  if (code !== undefined) return { kind: 'foreign', why: `${formatAddress(admin)}: ${explainConnect(code)}.` }
  try {
    const { status, body } = await askAdmin(admin, '/v1/config')
    const answer = body as Partial<RunningConfig> | null
    if (status !== 200 || answer?.document === undefined)
      return { kind: 'foreign', why: `What answers on ${formatAddress(admin)} is no sidecar.` }
    if (answer.document.file === file) return { kind: 'ours', answer: answer as RunningConfig }
    return { kind: 'foreign', why: `On ${formatAddress(admin)} answers the sidecar of ${answer.document.file}.` }
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return { kind: 'foreign', why: error.message }
  }
}

async function checkListen({ inbound, outbound, health }: SidecarConfig): Promise<CheckResult> {
  const addresses = [...inbound, ...outbound].map(({ listen }): Address => listen)
  if (health !== undefined) addresses.push(health)
  const unique = new Map(addresses.map((address) => [formatAddress(address), address]))
  const faults: string[] = []
  for (const address of unique.values()) {
    const fault = await listenFault(address)
    if (fault !== undefined) faults.push(fault)
  }
  return judged('listen-addresses', faults)
}

function checkNewest({ inputs, document, last_reload }: RunningConfig, config: SidecarConfig): CheckResult {
  const refused = inputs.flatMap(({ input, error }) => (error === undefined ? [] : [`The sidecar refused ${input}: ${error}`]))
  const wanted = JSON.parse(JSON.stringify({ inbound: config.inbound, outbound: config.outbound })) as RunningConfig['document']
  const changed = (['inbound', 'outbound'] as const).filter((key) => !isDeepStrictEqual(document[key], wanted[key]))
  const waiting = changed.map((key) => `\`spec.${key}\` of the document is not the one in force.`)
  const other = refused.length + waiting.length > 0 || last_reload.successful ? [] : ['A change of the document waits for a restart.']
  return judged('newest-in-force', [...refused, ...waiting, ...other])
}

async function checkHealth(health: Address | undefined): Promise<CheckResult> {
  if (health === undefined) return skipped('health-answers', 'the health address is off')
  try {
    const { status, text } = await get(health, '/readyz?verbose')
    const failing = text.split('\n').filter((line) => line.startsWith('[-] '))
    return judged('health-answers', status === 200 ? [] : failing.length > 0 ? failing : [`/readyz answers with status ${status}.`])
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    return judged('health-answers', [`${formatAddress(health)}: ${explainConnect(code)}.`])
  }
}

async function get(address: Address, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const target = address.kind === 'unix' ? { socketPath: address.path } : { host: callable(address.host), port: address.port }
  const asked = request(
    { ...target, path, headers: { host: 'localhost' }, agent: false, signal: AbortSignal.timeout(TIMEOUT) },
    (response) => {
      response
        .setEncoding('utf8')
        .toArray()
        .then((chunks: string[]) => resolve({ status: response.statusCode ?? 0, text: chunks.join('') }), reject)
    },
  )
  asked.on('error', reject)
  asked.end()
  return promise
}

/** A wildcard is where one listens, not where one is called. */
function callable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
}
