/** What injection makes of pods of every kind, written down: a change of it is seen in a review. `test/cluster/injection.test.ts` compares with a real API server. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import process from 'node:process'
import { test } from 'node:test'
import { decideInjection } from '#controller/inject/decide'
import { injectPod } from '#controller/inject/inject'
import { injectManifests } from '#controller/inject/manifests'
import { GOLDEN_CASES, GOLDEN_SETTINGS, podOf, readGolden } from '../../support/golden-pods.ts'

for (const golden of GOLDEN_CASES) {
  test(`${golden.name}: the pod is as it is written down, and injected only once`, () => {
    const { documents } = injectManifests([golden.manifest], 'golden', GOLDEN_SETTINGS)
    const pod = podOf(documents[0] as Readonly<Record<string, unknown>>)
    if (process.env['GOLDEN'] === 'write') writeFileSync(golden.file, `${JSON.stringify(pod, undefined, 2)}\n`)
    assert.deepEqual(JSON.parse(JSON.stringify(pod)), readGolden(golden))
    const again = decideInjection(readGolden(golden), 'golden', 'enabled', GOLDEN_SETTINGS)
    assert.equal(again.kind, 'leave')
  })
}

test('every kind of the guide is there', () => {
  assert.deepEqual(
    GOLDEN_CASES.map(({ name }) => name),
    [
      ...['cron-job', 'daemon-set', 'deployment', 'host-network', 'init-containers', 'ipv6', 'job', 'restricted', 'several-containers'],
      'stateful-set',
    ],
  )
})

test('the webhook, which sees the pod alone and its owner, makes of it what files are given', () => {
  for (const golden of GOLDEN_CASES.filter(({ name }) => name !== 'host-network')) {
    const template = podOf(golden.manifest)
    const { kind, metadata } = golden.manifest as { readonly kind: string; readonly metadata: { readonly name: string } }
    const { owner, labels } = ownerAsSeen(kind, metadata.name)
    const seen = {
      ...template,
      metadata: {
        ...template.metadata,
        labels: { ...template.metadata?.labels, ...labels },
        ...(owner !== undefined && { ownerReferences: [{ ...owner, controller: true }] }),
      },
    }
    const verdict = decideInjection(seen, 'golden', 'enabled', GOLDEN_SETTINGS)
    assert.equal(verdict.kind, 'inject')
    const pod = injectPod(seen, (verdict as { plan: Parameters<typeof injectPod>[1] }).plan, GOLDEN_SETTINGS)
    assert.deepEqual(JSON.parse(JSON.stringify(pod.spec)), readGolden(golden).spec, golden.name)
    const document = (text = ''): object => ({ ...(JSON.parse(text) as { metadata: { name: string } }).metadata, labels: undefined })
    const of = (injected: typeof pod): object => document(injected.metadata?.annotations?.['postern.dev/sidecar'])
    // A job of a CronJob is named after it and the time: labels tell who it is.
    assert.deepEqual(of(pod), of(readGolden(golden)), golden.name)
  }
})

function ownerAsSeen(kind: string, name: string): { owner?: { kind: string; name: string }; labels: Readonly<Record<string, string>> } {
  if (kind === 'Pod') return { labels: {} }
  if (kind === 'Deployment')
    return { owner: { kind: 'ReplicaSet', name: `${name}-6f99f599c5` }, labels: { 'pod-template-hash': '6f99f599c5' } }
  if (kind === 'CronJob') return { owner: { kind: 'Job', name: `${name}-29000000` }, labels: {} }
  return { owner: { kind, name }, labels: {} }
}
