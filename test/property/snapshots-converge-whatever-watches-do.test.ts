/**
 * Watches that break off, forget, are slow, tell twice, in another order, or never: what the sidecars of a namespace have in the end is what the
 * objects say, by a model that only looks at the objects.
 */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { systemClock } from '#base/clock'
import { followMesh, type Mesh } from '#controller/snapshot/mesh'
import { RESOURCES } from '#controller/snapshot/objects'
import { createKubeClient } from '#kube/client'
import type { KubeObject } from '#kube/objects'
import { type MeshAgent, startMeshAgent } from '#mesh-agent/agent'
import { policiesFolder } from '#mesh-agent/generation-folder'
import { createTestMesh } from '../support/authority.ts'
import { type KubeApiFake, startKubeApi } from '../fakes/kube-api.ts'
import { createRecordingLog } from '../support/recording-log.ts'

const RUNS = Number(process.env['POSTERN_PROPERTY_RUNS'] ?? 40)
const NAMESPACES = ['shop', 'bank'] as const
const NAMES = ['a', 'b', 'c'] as const
/** Of what is written last, of every kind: whoever has it was told all else before. */
const LAST = 'z'

/** Of other trust domains, by their names. */
const KEYS = new Map<string, object>()
for (const name of [...NAMES, LAST]) {
  const root = new X509Certificate((await createTestMesh(`${name}.example`)).bundlePem)
  KEYS.set(name, { ...root.publicKey.export({ format: 'jwk' }), use: 'x509-svid', x5c: [root.raw.toString('base64')] })
}

interface Step {
  readonly kind: string
  readonly of: (typeof NAMESPACES)[number]
  readonly name: string
  readonly flag: boolean
}

const FAULTS = ['slow', 'reversed', 'twice', 'break', 'midLine', 'forget', 'garbage', 'away', 'settle'] as const
/** Steps whose events wait, when they are slow or come in another order. */
const WAITING = 5
/** Of objects that the controller follows. */
const KINDS = Object.keys(RESOURCES).length
const CHANGES = [
  'policy',
  'noPolicy',
  'cluster',
  'noCluster',
  'pod',
  'noPod',
  'service',
  'noService',
  'slice',
  'noSlice',
  'trust',
  'noTrust',
  'blip',
]

const steps = (faults: readonly string[]): fc.Arbitrary<readonly Step[]> =>
  fc.array(
    fc.record({
      kind: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...CHANGES) }, { weight: 2, arbitrary: fc.constantFrom(...faults) }),
      of: fc.constantFrom(...NAMESPACES),
      name: fc.constantFrom(...NAMES),
      flag: fc.boolean(),
    }),
    { minLength: 5, maxLength: 40 },
  )

/** The fake tells objects of one kind apart by their names. */
const full = (of: string, name: string): string => `${of}-${name}`

/** @param serial differs from step to step */
function change(api: KubeApiFake, { kind, of, name, flag }: Step, serial: number): void {
  const metadata = { name: full(of, name), namespace: of }
  if (kind === 'policy') api.put(RESOURCES.policies, { metadata: { ...metadata, generation: serial }, spec: { serial } })
  else if (kind === 'noPolicy') api.remove(RESOURCES.policies, metadata.name)
  else if (kind === 'blip') {
    api.put(RESOURCES.policies, { metadata: { ...metadata, generation: serial }, spec: { serial } })
    api.remove(RESOURCES.policies, metadata.name)
  } else if (kind === 'cluster') api.put(RESOURCES.clusterPolicies, { metadata: { name, generation: serial }, spec: { serial } })
  else if (kind === 'noCluster') api.remove(RESOURCES.clusterPolicies, name)
  else if (kind === 'pod') {
    const annotations = flag ? { 'postern.dev/injected': '1' } : {}
    api.put(RESOURCES.pods, { metadata: { ...metadata, annotations }, spec: { serviceAccountName: `account-${name}` } })
  } else if (kind === 'noPod') api.remove(RESOURCES.pods, metadata.name)
  else if (kind === 'service') {
    const clusterIP = flag ? `10.0.${serial}.1` : 'None'
    api.put(RESOURCES.services, { metadata, spec: { clusterIP, selector: { app: name }, ports: [{ name: 'http', port: 80 }] } })
  } else if (kind === 'noService') api.remove(RESOURCES.services, metadata.name)
  else if (kind === 'slice') {
    // Behind the service of that name: its own pod, and that of the next.
    const pods = flag ? [name] : [name, name === 'a' ? 'b' : 'a']
    api.put(RESOURCES.endpointSlices, {
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': metadata.name } },
      endpoints: pods.map((pod, index) => ({
        addresses: [`10.1.${serial}.${index}`],
        targetRef: { kind: 'Pod', name: full(of, pod) },
      })),
      ports: [{ name: 'http', port: 8080 }],
    })
  } else if (kind === 'noSlice') api.remove(RESOURCES.endpointSlices, metadata.name)
  else if (kind === 'trust') {
    const spec = { bundle: { spiffe_sequence: serial, keys: [KEYS.get(name)] } }
    api.put(RESOURCES.trustDomains, { metadata: { name: `${name}.example`, generation: serial }, spec })
  } else if (kind === 'noTrust') api.remove(RESOURCES.trustDomains, `${name}.example`)
}

interface Expected {
  readonly policies: Readonly<Record<string, number>>
  /** Who answers at an address. */
  readonly addresses: Readonly<Record<string, readonly string[]>>
  /** Sequences by trust domain. */
  readonly trust: Readonly<Record<string, number>>
}

type Raw = KubeObject & { readonly spec: Readonly<Record<string, unknown>> }

/** What the objects say, as a person would read them. */
function expected(api: KubeApiFake, of: string): Expected {
  const all = (resource: Parameters<KubeApiFake['objects']>[0]): readonly Raw[] => api.objects(resource) as readonly Raw[]
  const policies: Record<string, number> = {}
  for (const { metadata, spec } of all(RESOURCES.policies)) {
    if (metadata.namespace === of) policies[`namespace_${of}_${metadata.name}.json`] = spec['serial'] as number
  }
  for (const { metadata, spec } of all(RESOURCES.clusterPolicies)) policies[`cluster_${metadata.name}.json`] = spec['serial'] as number
  const trust: Record<string, number> = {}
  for (const { metadata, spec } of all(RESOURCES.trustDomains)) {
    trust[metadata.name] = (spec['bundle'] as { readonly spiffe_sequence: number }).spiffe_sequence
  }
  const pods = new Map(all(RESOURCES.pods).map((pod) => [pod.metadata.name, pod]))
  const whoIs = (pod: Raw): string => `spiffe://example.org/ns/${pod.metadata.namespace}/sa/${String(pod.spec['serviceAccountName'])}`
  const addresses: Record<string, readonly string[]> = {}
  for (const { metadata, spec } of all(RESOURCES.services)) {
    const slices = all(RESOURCES.endpointSlices).filter((slice) => slice.metadata.name === metadata.name)
    const endpoints = slices.flatMap(
      (slice) =>
        (
          slice as unknown as {
            readonly endpoints: readonly { readonly addresses: readonly string[]; readonly targetRef: { name: string } }[]
          }
        ).endpoints,
    )
    const behind = endpoints.flatMap(({ addresses: [ip = ''], targetRef }) => {
      const pod = pods.get(targetRef.name)
      return pod === undefined ? [] : [{ ip, pod, injected: pod.metadata.annotations?.['postern.dev/injected'] !== undefined }]
    })
    if (spec['clusterIP'] === 'None') {
      for (const { ip, pod, injected } of behind) if (injected) addresses[`${ip}:8080`] = [whoIs(pod)]
    } else if (behind.length > 0 && behind.every(({ injected }) => injected)) {
      addresses[`${String(spec['clusterIP'])}:80`] = [...new Set(behind.map(({ pod }) => whoIs(pod)))].toSorted()
    }
  }
  return { policies, addresses, trust }
}

interface Sidecar extends Disposable {
  readonly agent: MeshAgent
  /** What it has on disk and in its table. */
  has(candidates: readonly string[]): Expected
}

async function sidecar(mesh: Mesh, of: string, fails: () => boolean): Promise<Sidecar> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-converge-'))
  const changes = new EventEmitter()
  const end = mesh.subscribe(() => changes.emit('change'))
  const agent = await startMeshAgent({
    folder,
    instance: of,
    apply: () => Promise.resolve(),
    clock: systemClock,
    random: () => 0.5,
    log: createRecordingLog(),
    backoff: { first: 1, max: 5 },
    async ask({ digest }, signal) {
      for (;;) {
        if (fails()) throw new Error('the controller is away')
        const snapshot = mesh.snapshot(of)
        if (snapshot !== undefined && snapshot.digest !== digest) return JSON.parse(JSON.stringify(snapshot)) as unknown
        await once(changes, 'change', { signal })
      }
    },
  })
  const json = (path: string): Readonly<Record<string, unknown>> =>
    JSON.parse(readFileSync(path, 'utf8')) as Readonly<Record<string, unknown>>
  return {
    agent,
    has(candidates) {
      const policies = policiesFolder(folder)
      const federation = join(folder, 'current', 'federation')
      return {
        policies: Object.fromEntries(
          readdirSync(policies).map((name) => [name, (json(join(policies, name))['spec'] as { readonly serial: number }).serial]),
        ),
        addresses: Object.fromEntries(
          candidates.flatMap((address) => {
            const [host = '', port] = address.split(':')
            const found = agent.services.find(host, Number(port))
            return found === undefined ? [] : [[address, found.peers]]
          }),
        ),
        trust: Object.fromEntries(
          readdirSync(federation).map((name) => [name.replace(/\.json$/, ''), json(join(federation, name))['spiffe_sequence'] as number]),
        ),
      }
    },
    [Symbol.dispose]() {
      agent.close()
      end()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function run(all: readonly Step[], resync: number | undefined): Promise<void> {
  await using api = await startKubeApi(100)
  const client = createKubeClient(api.access, systemClock)
  const mesh = followMesh({
    client,
    trustDomain: 'example.org',
    clock: systemClock,
    random: () => 0.5,
    onFault: () => {},
    backoff: { first: 1, max: 10 },
    ...(resync !== undefined && { resync }),
  })
  const held: { readonly text: string; readonly write: (text: string) => void }[] = []
  let waiting = 0
  let reversed = false
  let twice = false
  /** Events that are never told. */
  let lost = 0
  let away = 0
  api.relay = (text, write) => {
    if (lost > 0) {
      lost--
      return
    }
    if (waiting > 0) held.push({ text, write })
    else write(twice ? text + text : text)
  }
  const release = (): void => {
    waiting = 0
    if (reversed) held.reverse()
    for (const { text, write } of held.splice(0)) write(text)
  }
  try {
    using shop = await sidecar(mesh, 'shop', () => away-- > 0)
    using bank = await sidecar(mesh, 'bank', () => false)
    await mesh.ready
    const followed = async (): Promise<void> => {
      for (let tries = 0; tries < 100 && api.watches < KINDS; tries++) await pause(1)
    }
    await followed()
    const everyAddress = new Set<string>()
    const note = (): void => {
      for (const of of NAMESPACES) for (const address of Object.keys(expected(api, of).addresses)) everyAddress.add(address)
    }
    for (const [index, step] of all.entries()) {
      const { kind } = step
      if (kind === 'slow' || kind === 'reversed') {
        if (waiting === 0) reversed = kind === 'reversed'
        waiting = WAITING
      } else if (kind === 'twice') twice = !twice
      else if (kind === 'lost') lost = 1
      else if (kind === 'break') api.breakWatches()
      else if (kind === 'midLine') api.breakWatches(true)
      else if (kind === 'garbage') api.inject('{"type":\n')
      else if (kind === 'away') away = 3
      else if (kind === 'settle') await followed()
      else if (kind === 'forget') {
        api.breakWatches()
        api.forget()
      } else change(api, step, index + 1)
      note()
      // So that streams carry single events, not all at once.
      if (index % 3 === 0) await pause(0)
      if (waiting > 0 && --waiting === 0) release()
    }
    release()
    if (resync !== undefined) {
      // What was never told is found when all is listed again: as often as `resync` says, once the stream has ended.
      lost = 0
      api.breakWatches()
    }
    api.relay = undefined
    for (const [index, of] of NAMESPACES.entries()) {
      for (const kind of ['policy', 'cluster', 'pod', 'service', 'slice', 'trust']) {
        change(api, { kind, of, name: LAST, flag: true }, all.length + 1 + index)
      }
    }
    note()
    const until = performance.now() + 5000
    for (const [of, one] of [
      ['shop', shop],
      ['bank', bank],
    ] as const) {
      const goal = expected(api, of)
      const last = (seen: Expected): unknown => [
        seen.policies[`namespace_${of}_${full(of, LAST)}.json`],
        seen.policies[`cluster_${LAST}.json`],
        seen.trust[`${LAST}.example`],
        Object.keys(goal.addresses)
          .filter((address) => address.endsWith('.1:80'))
          .map((address) => seen.addresses[address]),
      ]
      while (!isDeepStrictEqual(last(one.has([...everyAddress])), last(goal)) && performance.now() < until) await pause(3)
      assert.deepEqual(one.has([...everyAddress]), goal, of)
      while (one.agent.digest !== mesh.snapshot(of)?.digest) {
        assert.ok(performance.now() < until, `${of}: the digest in force is that of the snapshot`)
        await pause(3)
      }
    }
  } finally {
    mesh.close()
    await client.close()
  }
}

test('dropped connections, forgotten versions, slow, doubled and reordered events: sidecars converge to what the objects say', async () => {
  await fc.assert(
    fc.asyncProperty(steps(FAULTS), (all) => run(all, undefined)),
    { numRuns: RUNS },
  )
})

test('events that are never told are made good by the next list', async () => {
  await fc.assert(
    fc.asyncProperty(steps(['lost', 'twice', 'break', 'settle']), (all) => run(all, 0)),
    { numRuns: RUNS },
  )
})
