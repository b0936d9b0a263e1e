/** docs/kubernetes.md is in step with the controller's document, with the annotations, and with the alerts it names. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { formatAddress } from '#base/units'
import { type ControllerConfig, controllerReader, readControllerDocument } from '#config/controller-document'
import { keyPaths } from '#config/reader'
import { readYamlDocuments } from '#config/yaml'

const ROOT = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(ROOT, 'docs', 'kubernetes.md'), 'utf8')
const section = page.slice(page.indexOf('\n## The controller'))
/** Key → its default, as the table writes it. */
const rows = new Map([...section.matchAll(/^\| `([\w.[\]*]+)` \|.*\|([^|]*)\|$/gm)].map(([, key = '', value = '']) => [key, value.trim()]))
const [example = ''] = [...section.matchAll(/```yaml\n([^`]+)```/g)].map(([, text = '']) => text)

function read(text: string): ControllerConfig {
  const { documents, problems } = readYamlDocuments(text, 'controller.yaml')
  assert.deepEqual(problems, [])
  const loaded = readControllerDocument(documents[0]!, { file: '/etc/postern/controller.yaml' })
  assert.deepEqual(loaded.problems.map(formatProblem), [])
  return loaded.config!
}

test('every key of the reader has a row, and there is no other row; the identity is that of a sidecar', () => {
  const keys = keyPaths(controllerReader).filter((key) => !key.startsWith('spec.identity.'))
  assert.deepEqual([...rows.keys()].toSorted(), keys.toSorted())
})

test('the defaults in the table are those of the reader', () => {
  const least = `
apiVersion: postern.dev/v1
kind: Controller
spec:
  trustDomain: example.org
  identity: { files: { certificate: c.pem, key: k.pem, bundle: b.pem } }
  injection: { image: "postern:1" }
`
  const config = read(least)
  const value = (key: string): string => (rows.get(key) ?? '').replaceAll('`', '')
  const { namespace } = config.injection
  assert.equal(value('metadata.namespace'), namespace)
  assert.equal(value('spec.webhook.listen'), formatAddress(config.webhook))
  assert.equal(value('spec.snapshots.listen'), formatAddress(config.snapshots))
  assert.equal(value('spec.health'), formatAddress(config.health!))
  assert.equal(value('spec.injection.ca').replace('NAMESPACE', namespace), config.injection.ca)
  assert.equal(value('spec.injection.controller').replace('NAMESPACE', namespace), config.injection.controller)
  assert.equal(value('spec.injection.interception'), config.injection.interception)
  assert.equal(value('spec.injection.passThrough'), config.injection.passThrough)
  assert.equal(value('spec.injection.podCertificate'), String(config.injection.podCertificate ?? false))
  assert.deepEqual(config.injection.excludeNetworks, [])
  assert.equal(config.injection.trustBundle, undefined)
})

test('the example is a document without fault, and holds every key', () => {
  read(example)
  const missing = [...rows.keys()].filter((key) => !example.includes(`${key.split('.').at(-1)}:`))
  assert.deepEqual(missing, [])
})
