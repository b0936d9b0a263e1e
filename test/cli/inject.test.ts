import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '..', '..')
const SHOP = 'examples/kubernetes/shop/shop.yaml'

function inject(args: readonly string[], input = ''): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, ['src/cli/main.ts', 'inject', ...args], { cwd: ROOT, input, encoding: 'utf8' })
}

test('the shop gets its sidecars, says which and why not the others, and gets none twice', () => {
  const first = inject(['-f', SHOP, '--trust-domain', 'example.org'])
  assert.equal(first.status, 0, first.stderr)
  assert.deepEqual(first.stderr.trim().split('\n'), [
    '- Namespace shop is left as it is: it runs no pods',
    ...['catalog', 'cart', 'storefront'].flatMap((name) => [
      `- ServiceAccount shop/${name} is left as it is: it runs no pods`,
      `√ Deployment shop/${name} gets a sidecar`,
      `- Service shop/${name} is left as it is: it runs no pods`,
    ]),
  ])
  const second = inject(['-f', '-', '--trust-domain', 'example.org'], first.stdout)
  assert.equal(second.status, 0)
  assert.equal(second.stdout, first.stdout)
  assert.match(second.stderr, /Deployment shop\/cart is left as it is: it has its sidecar already/)
})

test('--diff shows what is added, and takes nothing but probes away', () => {
  const { status, stdout } = inject(['-f', SHOP, '--trust-domain', 'example.org', '--diff'])
  assert.equal(status, 0)
  const removed = stdout.split('\n').filter((line) => line.startsWith('-') && !line.startsWith('---'))
  assert.deepEqual(
    removed.map((line) => line.slice(1).trim()),
    ['tcpSocket:', 'port: http', 'tcpSocket:', 'port: http', 'tcpSocket:', 'port: http'],
  )
  assert.match(stdout, /^\+ +- name: postern-init$/m)
})

const WRONG: readonly (readonly [string, readonly string[], string, RegExp])[] = [
  ['no file', ['--trust-domain', 'example.org'], '', /`-f FILE` is missing/],
  ['no trust domain', ['-f', '-'], '', /`--trust-domain` is missing/],
  ['a bad trust domain', ['-f', '-', '--trust-domain', 'Example.org'], '', /not the name of a trust domain/],
  ['no such file', ['-f', 'nowhere.yaml', '--trust-domain', 'example.org'], '', /nowhere\.yaml cannot be read \(ENOENT\)/],
  ['no YAML', ['-f', '-', '--trust-domain', 'example.org'], 'a: [', /stdin: /],
  [
    'an annotation that is none',
    ['-f', '-', '--trust-domain', 'example.org'],
    'kind: Pod\nmetadata: { name: a, annotations: { postern.dev/port: "1" } }\nspec: { containers: [{ name: app }] }',
    /× Pod default\/a is refused:\n {4}there is no annotation `postern\.dev\/port`; did you mean `postern\.dev\/ports`\?/,
  ],
]

for (const [title, args, input, expected] of WRONG) {
  test(`nothing is written for ${title}`, () => {
    const { status, stdout, stderr } = inject(args, input)
    assert.equal(status, 2)
    assert.equal(stdout, '')
    assert.match(stderr, expected)
  })
}
