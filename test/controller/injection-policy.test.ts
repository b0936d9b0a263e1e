/** The admission policy as it is printed; that the API server makes the same pod of it is in test/cluster/certificates.test.ts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectionManifests, type InjectionOptions } from '#controller/injection-manifests'

const OPTIONS: InjectionOptions = {
  trustDomain: 'example.org',
  namespace: 'postern-system',
  image: 'example.org/postern:1',
  interception: 'redirect',
  passThrough: 'allow',
  excludeNetworks: ['10.96.0.1/32'],
  trustBundle: undefined,
  version: '1.0.0',
}

interface Manifest {
  readonly kind: string
  readonly spec?: {
    readonly failurePolicy?: string
    readonly mutations?: readonly { readonly jsonPatch: { readonly expression: string } }[]
    readonly variables?: readonly { readonly name: string; readonly expression: string }[]
  }
}

function manifests(more: Partial<InjectionOptions>): readonly Manifest[] {
  return injectionManifests({ ...OPTIONS, ...more }) as unknown as readonly Manifest[]
}

test('the webhook for pods is printed, or the policies in its place, which refuse what they cannot judge', () => {
  assert.deepEqual(
    manifests({}).map(({ kind }) => kind),
    ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'],
  )
  const printed = manifests({ injection: 'policy' })
  assert.deepEqual(
    printed.map(({ kind }) => kind),
    [
      'MutatingAdmissionPolicy',
      'MutatingAdmissionPolicyBinding',
      'ValidatingAdmissionPolicy',
      'ValidatingAdmissionPolicyBinding',
      'ValidatingWebhookConfiguration',
    ],
  )
  for (const { kind, spec } of printed) if (kind.endsWith('AdmissionPolicy')) assert.equal(spec?.failurePolicy, 'Fail')
})

for (const interception of ['redirect', 'loopback'] as const) {
  test(`no name of a placeholder is left in the expressions, and what they add is ours (${interception})`, () => {
    const [policy] = manifests({ injection: 'policy', interception })
    const { mutations = [], variables = [] } = policy?.spec ?? {}
    const expressions = [...mutations.map(({ jsonPatch }) => jsonPatch.expression), ...variables.map(({ expression }) => expression)]
    for (const expression of expressions)
      assert.doesNotMatch(expression, /name-of-the-service|namespace-of-the-pod|labels-of-the-pod|65535/)
    const containers = mutations.at(-1)?.jsonPatch.expression ?? ''
    // Each is put in front of those before: the last one added is the first in the pod.
    const added = [...containers.slice(0, containers.indexOf('] : [')).matchAll(/value: \{"name": dyn\("(postern(?:-init)?)"\)/g)].map(
      ([, name]) => name,
    )
    assert.deepEqual(added, interception === 'redirect' ? ['postern', 'postern-init'] : ['postern'])
  })
}

test('with pod certificates the volume asks for one, and holds no token', () => {
  const text = JSON.stringify(manifests({ injection: 'policy', trustBundle: 'postern.dev/identity', podCertificates: true }))
  assert.match(text, /credentialBundlePath/)
  assert.doesNotMatch(text, /postern-ca\\"|expirationSeconds/)
})
