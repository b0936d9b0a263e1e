/** Annotations of a pod's author against the injector: they choose what the page says they choose, and nothing else of the sidecar. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { decideInjection } from '#controller/inject/decide'
import { injectPod } from '#controller/inject/inject'
import type { Container, Pod } from '#controller/inject/pod'
import { sidecarReader } from '#config/sidecar-document'
import { readYamlDocuments } from '#config/yaml'
import type { Problem } from '#base/located'
import { GOLDEN_SETTINGS } from '../support/golden-pods.ts'

const NAMES = [
  ...['ports', 'skip-ports', 'protocols', 'interception', 'service', 'pass-through', 'exclude-outbound-ports', 'outbound', 'log-level'],
  ...['cpu-request', 'cpu-limit', 'memory-request', 'memory-limit'],
]

/** Meant to become options of a command, members of a document, or another's annotation. */
const HOSTILE = [
  '8080 --uid 0',
  '8080,--config,/tmp/x',
  '8080"],"securityContext":{"privileged":true},"x":["',
  'x"},"admin":"0.0.0.0:7000","y":{"z":"',
  'debug --insecure',
  'redirect\nloopback',
  '../../etc/passwd',
  '${KUBERNETES_SERVICE_HOST}',
  '$(POD_IP)',
  '0',
  '65536',
  '-1',
  '1e9',
  '8080;rm -rf /',
  '７４４３',
  'catalog\u0000',
  '7101=catalog.shop:80@catalog/../../ns/kube-system/sa/admin',
  '7101=0.0.0.0:80@x',
  'x'.repeat(300_000),
]

function podWith(annotations: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>> = { app: 'cart' }): Pod {
  return {
    metadata: { name: 'cart', labels, annotations },
    spec: { containers: [{ name: 'app', image: 'app:1', ports: [{ containerPort: 8080 }] }] },
  }
}

function injectedOrRefused(pod: Pod): Pod | readonly string[] {
  const verdict = decideInjection(pod, 'shop', 'enabled', GOLDEN_SETTINGS)
  if (verdict.kind === 'refuse') return verdict.problems
  assert.equal(verdict.kind, 'inject')
  return injectPod(pod, verdict.plan, GOLDEN_SETTINGS)
}

/** What no annotation may touch. */
function fixedOf(pod: Pod): unknown {
  const own = (pod.spec.initContainers ?? []).map((container: Container) => {
    const { image, securityContext, volumeMounts, lifecycle, restartPolicy, startupProbe, readinessProbe, livenessProbe, env } =
      container as Container & Readonly<Record<string, unknown>>
    return [
      container.name,
      { image, securityContext, volumeMounts, lifecycle, restartPolicy, startupProbe, readinessProbe, livenessProbe, env },
    ]
  })
  return {
    sidecar: Object.fromEntries(own).postern as unknown,
    volumes: pod.spec.volumes,
    containers: pod.spec.containers.map(({ image }) => image),
  }
}

/** Its document is one that a sidecar takes; what says who it is, and who is trusted, is as for everybody. */
function assertSound(pod: Pod): void {
  const text = pod.metadata?.annotations?.['postern.dev/sidecar'] ?? ''
  const { documents, problems } = readYamlDocuments(text, 'sidecar.yaml')
  assert.deepEqual(problems, [])
  const found: Problem[] = []
  sidecarReader.read(documents[0]!, { path: '', folder: '/', problems: found })
  assert.deepEqual(found, [])
  const { spec } = JSON.parse(text) as { readonly spec: Readonly<Record<string, unknown>> }
  const plain = JSON.parse((PLAIN.metadata?.annotations ?? {})['postern.dev/sidecar'] ?? '') as {
    readonly spec: Readonly<Record<string, unknown>>
  }
  for (const key of ['identity', 'admin', 'health']) assert.deepEqual(spec[key], plain.spec[key])
}

const PLAIN = injectedOrRefused(podWith({})) as Pod

test('68 · annotations that would set more of the sidecar than they may', () => {
  for (const name of NAMES) {
    for (const value of HOSTILE) {
      const result = injectedOrRefused(podWith({ [`postern.dev/${name}`]: value }))
      // A number is a quantity, and a name of the service too.
      if (Array.isArray(result)) continue
      assert.match(value, /^(?:0|65536|1e9)$/, `${name} took ${JSON.stringify(value.slice(0, 60))}`)
      assert.match(name, /^(?:cpu|memory)-|^service$/)
    }
  }
  for (const name of ['image', 'user', 'args', 'config', 'admin', 'capabilities', 'sidecar.config', 'INTERCEPTION']) {
    assert.match(JSON.stringify(injectedOrRefused(podWith({ [`postern.dev/${name}`]: 'x' }))), /there is no annotation/)
  }
})

test('68 · whatever annotations and labels say, privileges, image, identity and mounts of the sidecar stay', () => {
  const value = fc.oneof(
    fc.constantFrom(
      ...HOSTILE.slice(0, -1),
      '8080',
      '8080,9090',
      '',
      '8080=tcp',
      'loopback',
      'redirect',
      'cart',
      'refuse',
      '100m',
      '64Mi',
      'debug',
    ),
    fc.constantFrom('7101=catalog.shop:80@catalog', '7101=a.b:1@c,7102=a.b:2@c'),
    fc.string({ maxLength: 20, unit: 'binary' }),
  )
  let injected = 0
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...NAMES.map((name) => `postern.dev/${name}`)), value, { maxKeys: 3 }),
      fc.dictionary(
        fc.constantFrom('app', 'tier', 'app.kubernetes.io/name', 'pod-template-hash'),
        fc.stringMatching(/^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?)?$/),
      ),
      (annotations, labels) => {
        const pod = injectedOrRefused(podWith({ ...annotations }, labels))
        if (Array.isArray(pod)) return
        injected++
        assert.deepEqual(fixedOf(pod as Pod), fixedOf(PLAIN))
        assertSound(pod as Pod)
      },
    ),
    { numRuns: 300 },
  )
  assert.ok(injected > 50, `${injected} were injected`)
})
