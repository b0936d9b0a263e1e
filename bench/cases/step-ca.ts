/** What a certificate costs step-ca, in the three ways in which `ca.ts` measures our own authority, in the same run. */
import { generateKeyPairSync } from 'node:crypto'
import { Agent, request } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { createCsr } from '#pki/csr'
import { privateKeyPem } from '#pki/keys'
import { AUTHORITY_DOMAIN } from '../contenders/ca.ts'
import { ensureStepCa, type RunningStepCa, startStepCa, STEP_CA_VERSION } from '../contenders/step-ca.ts'
import { cpuSeconds, residentMegabytes, tree } from '../environment/processes.ts'
import type { AuthorityCredentials } from '../load/authority.ts'
import { median } from '../median.ts'
import { SETTLE_MS } from './memory.ts'

export interface StepCaResult {
  /** CPU µs of its process for each certificate, medians: attested, renewed, renewed on a new connection. */
  readonly micros: readonly number[]
  /** Certificates a second, in the same order. */
  readonly rates: readonly number[]
  /** MB. */
  readonly rssReady: number
  readonly rssAfter: number
  /** Certificates issued until then. */
  readonly issued: number
}

export interface StepCaOptions {
  readonly folder: string
  readonly quick: boolean
}

const CONNECTIONS = 8
const ID = `spiffe://${AUTHORITY_DOMAIN}/ns/shop/sa/cart`

/** @returns why not, where there is no step-ca. A quick run does not build it */
export async function measureStepCa({ folder, quick }: StepCaOptions): Promise<StepCaResult | string> {
  const found = ensureStepCa(!quick)
  if ('missing' in found) return `step-ca ${STEP_CA_VERSION}: ${found.missing}`
  await using running = await startStepCa(found.program, folder)
  const pids = tree(running.pid)
  const settle = quick ? 300 : SETTLE_MS
  await delay(settle)
  const rssReady = residentMegabytes(pids)
  const count = quick ? 400 : 3_000
  const rounds = quick ? 2 : 5
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const csr = await createCsr({ privateKey, id: ID })
  const first = JSON.parse(await post(running, agentOf(running), '/1.0/sign', { csr, ott: await running.token(ID) })) as {
    certChain: string[]
  }
  const held = { certificatePem: first.certChain.join('\n'), keyPem: privateKeyPem(privateKey) }
  const results: Measured[][] = [[], [], []]
  for (let round = -1; round < rounds; round++) {
    const tokens = await Promise.all(Array.from({ length: count }, () => running.token(ID)))
    const attested = await measure(running, pids, undefined, count, async (agent, index) => {
      await post(running, agent, '/1.0/sign', { csr, ott: tokens[index] })
    })
    const renewed = await measure(running, pids, held, count, async (agent) => void (await post(running, agent, '/1.0/renew', {})))
    const reconnected = await measure(running, pids, held, count / 4, async () => {
      const own = agentOf(running, held)
      await post(running, own, '/1.0/renew', {})
      own.destroy()
    })
    // The first round warms up.
    if (round >= 0) [attested, renewed, reconnected].forEach((each, kind) => results[kind]?.push(each))
  }
  await delay(settle)
  return {
    micros: results.map((each) => median(each.map(({ micros }) => micros))),
    rates: results.map((each) => median(each.map(({ rate }) => rate))),
    rssReady,
    rssAfter: residentMegabytes(pids),
    issued: 1 + 2.25 * count * (rounds + 1),
  }
}

interface Measured {
  readonly micros: number
  readonly rate: number
}

/** A connection that is kept, without resumption: each handshake is a full one, as with us. */
function agentOf({ bundlePem }: RunningStepCa, as?: AuthorityCredentials): Agent {
  const own = as === undefined ? {} : { cert: as.certificatePem, key: as.keyPem }
  return new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0, ca: bundlePem, minVersion: 'TLSv1.3', ...own })
}

async function measure(
  running: RunningStepCa,
  pids: readonly number[],
  as: AuthorityCredentials | undefined,
  count: number,
  once: (agent: Agent, index: number) => Promise<void>,
): Promise<Measured> {
  const agents = Array.from({ length: CONNECTIONS }, () => agentOf(running, as))
  // Their handshakes are no part of what is measured.
  await Promise.all(agents.map((agent) => ask(running, agent, 'GET', '/health', '')))
  const [cpu, begun] = [cpuSeconds(pids), performance.now()]
  let next = 0
  await Promise.all(
    agents.map(async (agent) => {
      for (let index = next++; index < count; index = next++) await once(agent, index)
    }),
  )
  const [spent, seconds] = [cpuSeconds(pids) - cpu, (performance.now() - begun) / 1000]
  for (const agent of agents) agent.destroy()
  return { micros: (spent / count) * 1e6, rate: count / seconds }
}

function post(running: RunningStepCa, agent: Agent, path: string, body: object): Promise<string> {
  return ask(running, agent, 'POST', path, JSON.stringify(body))
}

function ask({ port }: RunningStepCa, agent: Agent, method: string, path: string, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const asked = request({ host: '127.0.0.1', port, method, path, agent, headers }, (response) => {
    let text = ''
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => (text += chunk))
    response.on('end', () => {
      if (response.statusCode === 200 || response.statusCode === 201) resolve(text)
      else reject(new Error(`step-ca answered ${response.statusCode}: ${text}`))
    })
  })
  asked.on('error', reject)
  asked.end(body)
  return promise
}
