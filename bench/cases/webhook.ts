/** What a review of a pod costs the controller: a Deployment's pod, on connections that are kept, as the API server keeps its own. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { startController } from '../contenders/controller.ts'
import { startApiServer } from '../load/api-server.ts'
import { openAuthorityCaller } from '../load/authority.ts'
import { makeMeshIdentities } from '../load/mesh-identities.ts'
import { podReview } from '../load/pods.ts'
import { median } from '../median.ts'

export interface WebhookResult {
  /** CPU µs of the controller's process for each review, median of the rounds. */
  readonly micros: number
  readonly lowest: number
  readonly highest: number
  /** Reviews a second. */
  readonly rate: number
  /** Bytes. */
  readonly request: number
  readonly answer: number
}

export interface WebhookOptions {
  readonly program: string
  readonly folder: string
  readonly quick: boolean
}

/** The API server's own: it shares one by HTTP/2, and opens few by HTTP/1.1. */
const CONNECTIONS = 4

export async function measureWebhook({ program, folder, quick }: WebhookOptions): Promise<WebhookResult> {
  const identities = await makeMeshIdentities()
  await using api = await startApiServer({ namespaces: 1, services: 1, pods: 0, policies: 0, ...identities.apiServer })
  const own = join(folder, 'webhook')
  mkdirSync(own)
  await using controller = await startController(program, own, { url: api.url, bundlePem: identities.bundlePem, ...identities.controller })
  const callers = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => openAuthorityCaller(controller.webhookPort, identities.bundlePem)),
  )
  const body = (index: number): string =>
    podReview(`service-${index % 50}`, 'ns-0', `39df8b8a-0000-4000-8000-${String(index).padStart(12, '0')}`)
  const bodies = Array.from({ length: 50 }, (_, index) => body(index))
  let answer = ''
  const round = async (count: number): Promise<number> => {
    const before = controller.cpuSeconds()
    let next = 0
    await Promise.all(
      callers.map(async (caller) => {
        for (let index = next++; index < count; index = next++) answer = await caller.post('/inject?timeout=5s', bodies[index % 50] ?? '')
      }),
    )
    return ((controller.cpuSeconds() - before) / count) * 1e6
  }
  const count = quick ? 300 : 2_000
  const begun = performance.now()
  await round(count)
  const warm = (performance.now() - begun) / count
  const rounds: number[] = []
  for (let index = 0; index < (quick ? 3 : 9); index++) rounds.push(await round(count))
  for (const caller of callers) caller.close()
  if (!answer.includes('"patchType":"JSONPatch"')) throw new Error(`A pod was not injected: ${answer.slice(0, 500)}`)
  return {
    micros: median(rounds),
    lowest: Math.min(...rounds),
    highest: Math.max(...rounds),
    rate: 1000 / warm,
    request: bodies[0]?.length ?? 0,
    answer: answer.length,
  }
}
