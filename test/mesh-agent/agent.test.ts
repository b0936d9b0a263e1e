import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { type AskController, type MeshAgent, startMeshAgent } from '#mesh-agent/agent'
import { policiesFolder, policyFileName } from '#mesh-agent/generation-folder'
import { type SpiffeId, parseSpiffeId } from '#identity/spiffe-id'
import { verifyChain } from '#pki/path-verdict'
import { openSvidSource } from '#svid-source/open'
import { createTestMesh } from '../support/authority.ts'
import { createRecordingLog } from '../support/recording-log.ts'

const SERVICES = [
  { name: 'cart.shop', addresses: ['10.0.0.7:80', '[fd00::7]:80'], peers: ['spiffe://example.org/ns/shop/sa/cart'], protocol: 'http1' },
]

function snapshot(digest: string, names: readonly string[]): unknown {
  return {
    digest,
    policies: names.map((name) => ({ name, kind: 'Policy', text: `{"name":"${name}"}` })),
    services: SERVICES,
    federation: {},
  }
}

/** Answers in turn; after the last, waits. */
class Controller {
  readonly asked: string[] = []
  readonly #answers: unknown[]
  readonly #idle = Promise.withResolvers<void>()
  constructor(answers: readonly unknown[]) {
    this.#answers = [...answers]
  }
  /** Every answer was taken. */
  get idle(): Promise<void> {
    return this.#idle.promise
  }
  readonly ask: AskController = ({ digest }, signal) => {
    this.asked.push(digest)
    if (this.#answers.length === 0) {
      this.#idle.resolve()
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('ended'))))
    }
    const answer = this.#answers.shift()
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
  }
}

interface Started extends Disposable {
  readonly agent: MeshAgent
  readonly folder: string
  readonly applied: string[][]
}

async function start(controller: Controller, folder = mkdtempSync(join(tmpdir(), 'postern-agent-'))): Promise<Started> {
  const applied: string[][] = []
  const agent = await startMeshAgent({
    ask: controller.ask,
    folder,
    instance: 'cart-1',
    apply: async () => {
      applied.push(readdirSync(policiesFolder(folder)))
      await Promise.resolve()
    },
    clock: systemClock,
    random: () => 0.5,
    log: createRecordingLog(),
    backoff: { first: 1, max: 5 },
  })
  return { agent, folder, applied, [Symbol.dispose]: () => (agent.close(), rmSync(folder, { recursive: true, force: true })) }
}

test('snapshots become files, what is no longer in one goes, and each is acknowledged by asking with its digest', async () => {
  const controller = new Controller([snapshot('one', ['shop/a', 'shop/b']), snapshot('two', ['shop/b', 'shop/c'])])
  using started = await start(controller)
  await controller.idle
  assert.deepEqual(controller.asked, ['', 'one', 'two'])
  assert.deepEqual(started.applied, [
    ['namespace_shop_a.json', 'namespace_shop_b.json'],
    ['namespace_shop_b.json', 'namespace_shop_c.json'],
  ])
  assert.equal(started.agent.services.find('10.0.0.7', 80)?.name, 'cart.shop')
  assert.equal(started.agent.services.find('fd00::7', 80)?.name, 'cart.shop')
  assert.equal(started.agent.services.find('10.0.0.7', 81), undefined)
})

test('a controller that is away, or answers nonsense, changes nothing and is asked again', async () => {
  const nonsense = [null, {}, { digest: 'x', policies: [{}], services: [] }, { digest: 'x', policies: [], services: [{ name: 'a' }] }]
  const controller = new Controller([snapshot('one', ['shop/a']), new Error('ECONNREFUSED'), ...nonsense])
  using started = await start(controller)
  await controller.idle
  assert.deepEqual(new Set(controller.asked), new Set(['', 'one']))
  assert.equal(started.agent.digest, 'one')
  assert.equal(started.applied.length, 1)
  assert.equal(started.agent.services.size, 2)
})

test('after a restart the last snapshot is in force before anybody is asked; half a file is none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-agent-'))
  const first = new Controller([snapshot('one', ['shop/a'])])
  const { agent } = await start(first, folder)
  await first.idle
  agent.close()
  {
    const { agent: again } = await start(new Controller([]), folder)
    assert.equal(again.digest, 'one')
    assert.equal(again.services.size, 2)
    again.close()
  }
  const kept = join(folder, 'current', 'snapshot.json')
  writeFileSync(kept, readFileSync(kept, 'utf8').slice(0, 20))
  using broken = await start(new Controller([]), folder)
  assert.equal(broken.agent.digest, '')
  assert.deepEqual(readdirSync(policiesFolder(folder)), [])
})

test('a snapshot that cannot be written leaves the last one whole', async () => {
  const tooLong = {
    digest: 'two',
    policies: [
      { name: 'shop/a', kind: 'Policy', text: 'new' },
      { name: `shop/${'x'.repeat(253)}`, kind: 'Policy', text: '' },
    ],
    services: [],
  }
  const controller = new Controller([snapshot('one', ['shop/a']), tooLong])
  using started = await start(controller)
  await controller.idle
  assert.equal(started.agent.digest, 'one')
  assert.match(started.agent.fault ?? '', /ENAMETOOLONG/)
  assert.equal(readFileSync(join(policiesFolder(started.folder), 'namespace_shop_a.json'), 'utf8'), '{"name":"shop/a"}')
  assert.equal(readdirSync(started.folder).filter((name) => name.startsWith('generation')).length, 1)
})

test('bundles of other trust domains are kept with the snapshot; what is broken or older leaves the one before, what is gone goes', async () => {
  const partner = await createTestMesh('partner.example')
  const bundle = (sequence: number): object => ({ spiffe_sequence: sequence, keys: [x509Key(partner.bundlePem)] })
  const given = (digest: string, federation: object): object => ({ ...(snapshot(digest, []) as object), federation })
  const steps: readonly (readonly [federation: object, kept: Readonly<Record<string, number>>])[] = [
    [{ 'partner.example': bundle(2) }, { 'partner.example.json': 2 }],
    [{ 'partner.example': bundle(1) }, { 'partner.example.json': 2 }],
    [{ 'partner.example': { keys: [] } }, { 'partner.example.json': 2 }],
    [{ 'partner.example': bundle(3), '../../x': bundle(3), 'other.example': null }, { 'partner.example.json': 3 }],
    [{}, {}],
  ]
  for (let upTo = 1; upTo <= steps.length; upTo++) {
    const controller = new Controller(steps.slice(0, upTo).map(([federation], index) => given(`step-${index}`, federation)))
    using started = await start(controller)
    await controller.idle
    const folder = join(started.folder, 'current', 'federation')
    const kept = readdirSync(folder).map((name) => [name, sequenceIn(readFileSync(join(folder, name), 'utf8'))])
    assert.deepEqual(Object.fromEntries(kept), steps[upTo - 1]?.[1])
  }
})

test('a bundle from before a restart still holds against an older one', async () => {
  const partner = await createTestMesh('partner.example')
  const given = (digest: string, sequence: number): object => ({
    ...(snapshot(digest, []) as object),
    federation: { 'partner.example': { spiffe_sequence: sequence, keys: [x509Key(partner.bundlePem)] } },
  })
  const folder = mkdtempSync(join(tmpdir(), 'postern-agent-'))
  const first = new Controller([given('one', 7)])
  const { agent } = await start(first, folder)
  await first.idle
  agent.close()
  const second = new Controller([given('two', 6)])
  using again = await start(second, folder)
  await second.idle
  assert.equal(again.agent.digest, 'two')
  assert.equal(sequenceIn(readFileSync(join(folder, 'current', 'federation', 'partner.example.json'), 'utf8')), 7)
})

test('what the controller gives is in the trust store of the sidecar, beside its own, as soon as it is applied', async () => {
  const [own, partner] = await Promise.all([createTestMesh('example.org'), createTestMesh('partner.example')])
  const folder = mkdtempSync(join(tmpdir(), 'postern-agent-'))
  const files = await own.writeTo(join(folder, 'svid'), '/ns/shop/sa/cart')
  const mesh = { controller: { kind: 'tcp', host: 'x', port: 1 }, peer: peerId(), folder, redirect: undefined } as const
  const log = createRecordingLog()
  const source = await openSvidSource({ identity: { kind: 'files', ...files }, federation: [], mesh }, { clock: systemClock, log })
  const caller = await partner.issue('/ns/shop/sa/visitor')
  const verdict = (): boolean => verifyChain([...caller.chain], source.current.trust, Date.now(), 'client').ok
  assert.equal(verdict(), false)
  const federation = { 'partner.example': { spiffe_sequence: 1, keys: [x509Key(partner.bundlePem)] } }
  const controller = new Controller([{ ...(snapshot('one', []) as object), federation }, snapshot('two', [])])
  const seen: boolean[] = []
  const agent = await startMeshAgent({
    ask: controller.ask,
    folder,
    instance: 'cart-1',
    apply: async () => {
      await source.reload()
      seen.push(verdict())
    },
    clock: systemClock,
    random: () => 0.5,
    log,
  })
  await controller.idle
  agent.close()
  source.close()
  rmSync(folder, { recursive: true, force: true })
  assert.deepEqual(seen, [true, false])
})

function peerId(): SpiffeId {
  const parsed = parseSpiffeId('spiffe://example.org/ns/postern-system/sa/postern-controller')
  assert.ok(parsed.ok)
  return parsed.value
}

function x509Key(pem: string): object {
  const certificate = new X509Certificate(pem)
  return { ...certificate.publicKey.export({ format: 'jwk' }), use: 'x509-svid', x5c: [certificate.raw.toString('base64')] }
}

function sequenceIn(text: string): unknown {
  return (JSON.parse(text) as { spiffe_sequence?: unknown }).spiffe_sequence
}

const NAMES: readonly (readonly [string, string, RegExp])[] = [
  ['Policy', 'shop/readers', /^namespace_shop_readers\.json$/],
  ['ClusterPolicy', 'defaults', /^cluster_defaults\.json$/],
  ['Policy', '../../etc/passwd', /^namespace_[0-9a-f]{64}\.json$/],
  ['../x', 'a/b/c', /^namespace_[0-9a-f]{64}\.json$/],
]

test('whatever a policy is called, its file stays in the folder', () => {
  for (const [kind, name, expected] of NAMES) assert.match(policyFileName({ kind, name, text: '' }), expected)
})
