/** The Helm chart is `postern install` with values: the same objects, in every combination of choices, by our renderer and by `helm` where it is. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { readPlainYaml, readPlainYamlDocuments } from '#config/plain-yaml'
import { type InstallOptions, meshManifests } from '#controller/install'
import { CHART, chartTemplates, COPIES } from '../../scripts/helm.ts'
import { renderTemplate } from '../support/helm-templates.ts'

interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> }
}
type Values = Readonly<Record<string, unknown>>

const HELM = process.env['POSTERN_HELM'] ?? 'helm'
const HELM_MISSING = spawnSync(HELM, ['version']).status === 0 ? false : 'needs helm on the path, or its place in POSTERN_HELM'

const VERSION = (JSON.parse(readFileSync(join(CHART, '..', '..', '..', 'package.json'), 'utf8')) as { readonly version: string }).version
const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'
const KEY = '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n'
const AUTHORITY = { root: `${PEM}root`, intermediate: `${PEM}intermediate`, intermediateKey: KEY, bundle: `${PEM}bundle` }

const BASE: InstallOptions = {
  trustDomain: 'example.org',
  namespace: 'postern-system',
  image: 'example.org:5000/postern:1.2.3',
  authority: AUTHORITY,
  interception: 'redirect',
  passThrough: 'allow',
  excludeNetworks: [],
  trustBundle: undefined,
  storage: { kind: 'claim', size: '2Gi' },
  replicas: 3,
  version: VERSION,
}

const VARIANTS: readonly Partial<InstallOptions>[] = [
  {},
  { interception: 'loopback', passThrough: 'refuse', replicas: 1 },
  { excludeNetworks: ['10.96.0.1/32', 'fd00::1/128'] },
  { trustBundle: 'postern.dev/identity' },
  { trustBundle: 'postern.dev/identity', podCertificates: true, excludeNetworks: ['10.96.0.1/32'] },
  { storage: { kind: 'none' }, namespace: 'mesh', trustDomain: 'other.example' },
  { storage: { kind: 'none' }, trustBundle: 'a.example/b', podCertificates: true, replicas: 1, namespace: 'mesh' },
  { injection: 'policy' },
  { injection: 'policy', interception: 'loopback', passThrough: 'refuse', trustBundle: 'a.example/b', namespace: 'mesh' },
  { injection: 'policy', trustBundle: 'postern.dev/identity', podCertificates: true, excludeNetworks: ['10.96.0.1/32', 'fd00::1/128'] },
]

function valuesOf(options: InstallOptions): Values {
  return {
    ...(readPlainYaml(readFileSync(join(CHART, 'values.yaml'), 'utf8'), 'values.yaml') as Values),
    trustDomain: options.trustDomain,
    image: options.image,
    injection: options.injection ?? 'webhook',
    interception: options.interception,
    passThrough: options.passThrough,
    excludeNetworks: options.excludeNetworks,
    trustBundle: options.trustBundle ?? '',
    podCertificates: options.podCertificates === true,
    authority: { create: true, ...options.authority },
    ca: { storage: options.storage.kind === 'none' ? 'none' : options.storage.size },
    controller: { replicas: options.replicas },
  }
}

function rendered(values: Values, namespace: string): readonly Manifest[] {
  const folder = join(CHART, 'templates')
  const context = { values, namespace, appVersion: VERSION, file: (name: string) => readFileSync(join(CHART, name), 'utf8') }
  return readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .flatMap((name) => readPlainYamlDocuments(renderTemplate(readFileSync(join(folder, name), 'utf8'), context), name)) as Manifest[]
}

/** By kind and name; what the chart adds taken away; the namespace is Helm's to make. */
function comparable(objects: readonly Manifest[]): Map<string, unknown> {
  const all = objects.flatMap((object): [string, unknown][] => {
    const { annotations = {}, ...metadata } = object.metadata
    if (object.kind === 'Namespace') return []
    if (object.kind === 'CustomResourceDefinition') delete (annotations as Record<string, string>)['helm.sh/resource-policy']
    const kept = Object.keys(annotations).length > 0 ? { ...metadata, annotations } : metadata
    return [[`${object.kind}/${object.metadata.name}`, withParsedDocuments({ ...object, metadata: kept })]]
  })
  return new Map(all.toSorted(([one], [other]) => (one < other ? -1 : 1)))
}

/** Documents in ConfigMaps are compared by what they say. */
function withParsedDocuments(object: object): object {
  const { kind, data } = object as { kind: string; data?: Readonly<Record<string, string>> }
  if (kind !== 'ConfigMap' || data === undefined) return object
  const parsed = Object.entries(data).map(([name, text]) => [name, name.endsWith('.yaml') ? JSON.parse(text) : text])
  return { ...object, data: Object.fromEntries(parsed) }
}

test('the templates are those that the objects of `postern install` make; the copies are those of deploy/', () => {
  for (const [name, text] of chartTemplates()) {
    assert.equal(readFileSync(join(CHART, 'templates', name), 'utf8'), text, `${name}: run \`npm run helm\``)
  }
  const generated = new Set(chartTemplates().keys())
  const written = readdirSync(join(CHART, 'templates')).filter((name) => !generated.has(name))
  assert.deepEqual(written.toSorted(), ['NOTES.txt', 'monitoring.yaml'])
  for (const { from, to } of COPIES) assert.equal(readFileSync(to, 'utf8'), readFileSync(from, 'utf8'), `${to}: run \`npm run helm\``)
})

for (const [index, variant] of VARIANTS.entries()) {
  test(`choice ${index + 1} (${JSON.stringify(variant)}) is the same objects as \`postern install\``, () => {
    const options = { ...BASE, ...variant }
    const expected = comparable(meshManifests(options) as unknown as readonly Manifest[])
    assert.deepEqual(comparable(rendered(valuesOf(options), options.namespace)), expected)
    assert.ok(expected.size >= 18)
  })
}

test('custom resources outlive the release; a Secret that is there already is not made; monitoring comes by choice', () => {
  const values = valuesOf(BASE)
  for (const { kind, metadata } of rendered(values, 'postern-system')) {
    if (kind === 'CustomResourceDefinition') assert.equal(metadata.annotations?.['helm.sh/resource-policy'], 'keep')
  }
  const kinds = (more: Values): string[] => rendered({ ...values, ...more }, 'postern-system').map(({ kind }) => kind)
  assert.ok(kinds({}).includes('Secret'))
  assert.ok(!kinds({ authority: { ...AUTHORITY, create: false } }).includes('Secret'))
  assert.ok(!kinds({}).includes('PrometheusRule'))
  const both = rendered({ ...values, monitoring: { rules: true, dashboard: true } }, 'postern-system')
  const rules = both.find(({ kind }) => kind === 'PrometheusRule') as unknown as { spec: { groups: unknown[] } }
  assert.deepEqual(rules.spec, readPlainYaml(readFileSync(COPIES[0].from, 'utf8'), 'rules.yaml'))
  const dashboard = both.find(({ metadata }) => metadata.name === 'postern-dashboard') as unknown as { data: Record<string, string> }
  assert.deepEqual(JSON.parse(dashboard.data['postern.json'] ?? ''), JSON.parse(readFileSync(COPIES[1].from, 'utf8')))
})

test('the schema knows every value, and no other', () => {
  const values = readPlainYaml(readFileSync(join(CHART, 'values.yaml'), 'utf8'), 'values.yaml') as Values
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema
  const keys = (value: unknown, of: Schema): void => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return
    assert.deepEqual(
      Object.keys(value).toSorted(),
      Object.keys(of.properties ?? {})
        .filter((name) => name !== 'global')
        .toSorted(),
    )
    assert.equal(of.additionalProperties, false)
    for (const [name, inner] of Object.entries(value)) keys(inner, of.properties?.[name] ?? {})
  }
  keys(values, schema)
})

interface Schema {
  readonly additionalProperties?: boolean
  readonly properties?: Readonly<Record<string, Schema>>
}

test('the version of the chart, and of the image in it, is that of the program', () => {
  const chart = readPlainYaml(readFileSync(join(CHART, 'Chart.yaml'), 'utf8'), 'Chart.yaml') as Record<string, string>
  assert.deepEqual([chart['version'], chart['appVersion']], [VERSION, VERSION])
  assert.match(readFileSync(join(CHART, 'values.yaml'), 'utf8'), new RegExp(`^image: ghcr\\.io/postern/postern:${VERSION}$`, 'm'))
})

test('helm itself renders the same, finds nothing to complain of, and refuses values that are wrong', { skip: HELM_MISSING }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-helm-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'values.json')
  const helm = (command: string, values: Values, ...args: string[]): ReturnType<typeof spawnSync> => {
    writeFileSync(file, JSON.stringify(values))
    return spawnSync(HELM, [command, ...args, CHART, '--values', file, '--kube-version', '1.37.0'], { encoding: 'utf8' })
  }
  for (const variant of VARIANTS) {
    const options = { ...BASE, ...variant }
    const { status, stdout, stderr } = helm('template', valuesOf(options), 'postern', '--namespace', options.namespace)
    assert.equal(status, 0, String(stderr))
    const objects = readPlainYamlDocuments(String(stdout), 'helm') as Manifest[]
    assert.deepEqual(comparable(objects), comparable(meshManifests(options) as unknown as readonly Manifest[]))
  }
  const lint = helm('lint', valuesOf(BASE), '--strict')
  assert.equal(lint.status, 0, String(lint.stdout))
  const wrong: readonly Values[] = [
    { trustDomain: '' },
    { image: 'postern' },
    { interception: 'none' },
    { podCertificates: true },
    { injection: 'both' },
    { authority: { create: true, bundle: PEM } },
    { typo: 1 },
    { controller: { replicas: 0 } },
  ]
  for (const change of wrong) {
    const { status, stderr } = helm('template', { ...valuesOf(BASE), ...change }, 'postern')
    assert.notEqual(status, 0, JSON.stringify(change))
    assert.match(String(stderr), /values don't meet the specifications of the schema/)
  }
})
