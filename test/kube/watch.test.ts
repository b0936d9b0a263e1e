import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { systemClock } from '#base/clock'
import type { PosternError } from '#base/errors'
import { createKubeClient } from '#kube/client'
import type { KubeObject } from '#kube/objects'
import { type Watched, watchObjects } from '#kube/watch'
import { type KubeApiFake, line, startKubeApi, status } from '../fakes/kube-api.ts'

const PODS = { group: '', version: 'v1', plural: 'pods' }

interface Follower extends AsyncDisposable {
  readonly watched: Watched<KubeObject>
  readonly faults: PosternError[]
  readonly changes: string[]
  /** Resolves when what is held equals what the server has. */
  same(): Promise<void>
  until(condition: () => boolean): Promise<void>
}

function follow(api: KubeApiFake): Follower {
  const client = createKubeClient(api.access, systemClock)
  const faults: PosternError[] = []
  const changes: string[] = []
  const waiting = new Set<() => void>()
  const wake = (): void => {
    for (const look of waiting) look()
  }
  const watched = watchObjects<KubeObject>({
    client,
    resource: PODS,
    clock: systemClock,
    random: () => 0.5,
    backoff: { first: 1, max: 20 },
    onChange(now, before) {
      changes.push(`${before === undefined ? '+' : now === undefined ? '-' : '~'}${(now ?? before)?.metadata.name}`)
      wake()
    },
    onFault(error) {
      faults.push(error)
      wake()
    },
  })
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      function look(): void {
        if (!condition()) return
        waiting.delete(look)
        clearInterval(timer)
        resolve()
      }
      // The server's side of a condition changes without an event of ours.
      const timer = setInterval(look, 5)
      waiting.add(look)
      look()
    })
  return {
    watched,
    faults,
    changes,
    until,
    same: () => until(() => watched.synced && isSame(watched, api)),
    async [Symbol.asyncDispose]() {
      watched.close()
      await client.close()
    },
  }
}

function isSame(watched: Watched<KubeObject>, api: KubeApiFake): boolean {
  const held = [...watched.objects.values()].map((object) => `${object.metadata.name}@${object.metadata.resourceVersion}`).sort()
  const stored = api
    .objects(PODS)
    .map((object) => `${object.metadata.name}@${object.metadata.resourceVersion}`)
    .sort()
  return held.join() === stored.join()
}

const pod = (name: string) => ({ metadata: { name } })

test('what is there is listed in pages, and what comes after is followed', async () => {
  await using api = await startKubeApi()
  for (const name of ['a', 'b', 'c', 'd', 'e']) api.put(PODS, pod(name))
  await using follower = follow(api)
  await follower.watched.ready
  assert.equal(follower.watched.objects.size, 5)
  assert.equal(api.requests.filter((request) => !request.includes('watch')).length, 3, 'five objects in pages of two')
  await follower.until(() => api.watches === 1)
  api.put(PODS, pod('f'))
  api.put(PODS, pod('a'))
  api.remove(PODS, 'b')
  await follower.same()
  assert.deepEqual(follower.changes.slice(5), ['+f', '~a', '-b'])
})

test('a version that is forgotten, and an event that cannot be read, lead to a new list, and nothing is missed', async () => {
  await using api = await startKubeApi()
  api.put(PODS, pod('a'))
  await using follower = follow(api)
  await follower.until(() => api.watches === 1)
  api.inject('this is no event\n')
  await follower.until(() => follower.faults.length === 1)
  assert.equal(follower.faults[0]?.code, 'ERR_KUBE_RESPONSE')
  await follower.until(() => api.requests.filter((request) => request.includes('watch')).length === 2 && api.watches === 1)
  api.breakWatches()
  api.remove(PODS, 'a')
  api.put(PODS, pod('b'))
  api.forget()
  await follower.same()
  assert.ok(follower.faults.some((fault) => fault.code === 'ERR_KUBE_EXPIRED'))
  assert.deepEqual(follower.changes.sort(), ['+a', '+b', '-a'])
})

test('a connection that breaks in the middle of an event is followed on from the last version, without a new list', async () => {
  await using api = await startKubeApi()
  api.put(PODS, pod('a'))
  await using follower = follow(api)
  await follower.until(() => api.watches === 1)
  api.breakWatches(true)
  await follower.until(() => api.watches === 0)
  api.put(PODS, pod('b'))
  await follower.same()
  assert.equal(api.requests.filter((request) => !request.includes('watch')).length, 1)
})

test('a server that refuses is asked again, ever less often, and the fault is told in its own words', async () => {
  await using api = await startKubeApi()
  let refusals = 0
  api.intercept = (_, response) => {
    if (refusals === 3) return false
    refusals++
    status(response, 403, 'pods is forbidden: User "x" cannot list resource "pods"')
    return true
  }
  await using follower = follow(api)
  await follower.watched.ready
  assert.equal(follower.faults.length, 3)
  assert.equal(follower.faults[0]?.code, 'ERR_KUBE_FORBIDDEN')
  assert.match(follower.faults[0]?.message ?? '', /cannot list resource "pods"/)
  await follower.until(() => follower.watched.fault === undefined)
})

test('whatever breaks, comes twice or comes late: what is held converges to what the server has', async () => {
  const names = ['a', 'b', 'c']
  const step = fc.oneof(
    fc.record({ kind: fc.constant('put' as const), name: fc.constantFrom(...names) }),
    fc.record({ kind: fc.constant('remove' as const), name: fc.constantFrom(...names) }),
    fc.record({
      kind: fc.constantFrom(
        'break' as const,
        'midLine' as const,
        'forget' as const,
        'again' as const,
        'garbage' as const,
        'settle' as const,
      ),
    }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      await using api = await startKubeApi()
      await using follower = follow(api)
      let old: KubeObject | undefined
      for (const next of steps) {
        if (next.kind === 'put') old = api.put(PODS, pod(next.name))
        else if (next.kind === 'remove') api.remove(PODS, next.name)
        else if (next.kind === 'break') api.breakWatches()
        else if (next.kind === 'midLine') api.breakWatches(true)
        else if (next.kind === 'garbage') api.inject('{"type":\n')
        else if (next.kind === 'settle') await follower.same()
        else if (next.kind === 'forget') {
          api.breakWatches()
          api.forget()
        } else if (old !== undefined && api.objects(PODS).some(({ metadata }) => metadata.uid === old?.metadata.uid)) {
          // An event of an object that is still there, told again after later ones.
          api.inject(line({ type: 'MODIFIED', object: old }))
        }
      }
      await follower.same()
    }),
    { numRuns: 60 },
  )
})
