/** docs/kubernetes.md says what the mesh may do in a cluster, rule by rule, and what the controller counts. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { meshManifests } from '#controller/install'

const ROOT = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(ROOT, 'docs', 'kubernetes.md'), 'utf8')

interface Role {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly rules: readonly {
    readonly resources: readonly string[]
    readonly resourceNames?: readonly string[]
    readonly verbs: readonly string[]
  }[]
}

function rules(more: object): string[] {
  const options = {
    ...{ trustDomain: 'example.org', namespace: 'postern-system', image: 'a:1', interception: 'redirect', passThrough: 'allow' },
    ...{ excludeNetworks: [], trustBundle: undefined, storage: { kind: 'none' }, replicas: 2 },
    authority: { root: '', intermediate: '', intermediateKey: '', bundle: '' },
    ...more,
  } as Parameters<typeof meshManifests>[0]
  return (meshManifests(options) as unknown as readonly Role[])
    .filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role')
    .flatMap(({ metadata, rules: all }) =>
      all.map(({ resources, resourceNames, verbs }) => {
        const who = metadata.name === 'postern-ca' ? 'authority' : 'controller'
        return `${who}: ${resources.join(', ')}${resourceNames === undefined ? '' : ' (named)'}: ${verbs.join(', ')}`
      }),
    )
}

test('every rule of RBAC has a row with its reason, and every row its rule', () => {
  const made = new Set([...rules({}), ...rules({ trustBundle: 'postern.dev/identity', podCertificates: true })])
  const section = page.slice(page.indexOf('\n## What it may do'), page.indexOf('\n## Metrics of the controller'))
  const rows = [...section.matchAll(/^\| (authority|controller)[^|]* \| ([^|]*) \| ([a-z, ]*) \| (.+) \|$/gm)]
  const told = rows.map(([, who = '', what = '', verbs = '', why = '']) => {
    assert.ok(why.length > 5)
    const resources = [...(what.split(/, (?:named|that)/)[0] ?? '').matchAll(/`([a-z/]+)`/g)].map(([, name = '']) => name)
    return `${who}: ${resources.join(', ')}${/, (?:named|that)/.test(what) ? ' (named)' : ''}: ${verbs}`
  })
  assert.deepEqual([...new Set(told)].toSorted(), [...made].toSorted())
})

test('nothing may read Secrets, write pods, or do anything to everything', () => {
  for (const rule of [...rules({}), ...rules({ trustBundle: 'postern.dev/identity', podCertificates: true })]) {
    assert.doesNotMatch(rule, /secrets|\*|delete|escalate|impersonate|bind/)
    assert.doesNotMatch(rule, /pods[^:]*: .*(?:create|patch|update)/)
  }
})

test('what runs in a cluster keeps to the restricted profile of Pod Security', () => {
  const options = {
    trustDomain: 'a.example',
    namespace: 'n',
    image: 'a:1',
    authority: { root: '', intermediate: '', intermediateKey: '', bundle: '' },
  }
  const all = meshManifests({
    ...options,
    ...{
      interception: 'redirect',
      passThrough: 'allow',
      excludeNetworks: [],
      trustBundle: undefined,
      storage: { kind: 'none' },
      replicas: 2,
    },
  })
  let pods = 0
  for (const object of all) {
    const { template } = (object['spec'] ?? {}) as { readonly template?: { readonly spec: PodSpec } }
    if (template === undefined) continue
    pods++
    assert.equal(template.spec.securityContext.runAsNonRoot, true)
    assert.deepEqual(template.spec.securityContext.seccompProfile, { type: 'RuntimeDefault' })
    for (const { securityContext } of template.spec.containers) {
      assert.deepEqual(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } })
    }
  }
  assert.equal(pods, 2)
  assert.ok(all.some(({ kind }) => kind === 'PodDisruptionBudget'))
})

interface PodSpec {
  readonly securityContext: { readonly runAsNonRoot: boolean; readonly seccompProfile: object }
  readonly containers: readonly { readonly securityContext: object }[]
}

test('every metric of the controller is told, and no other', () => {
  const made = globSync('src/controller/**/*.ts', { cwd: ROOT }).flatMap((file) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/'(postern_[a-z_]+)'/g)].map(([, name = '']) => name),
  )
  const section = page.slice(page.indexOf('\n## Metrics of the controller'), page.indexOf('\n## The controller'))
  const told = [...section.matchAll(/^\| `(postern_\w+)` \|/gm)].map(([, name = '']) => name)
  assert.deepEqual(told.toSorted(), [...new Set(made)].toSorted())
})
