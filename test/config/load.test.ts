/** Loading: the document and its policies through the worker, every fault of every file at once. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { formatProblem, type Problem } from '#base/located'
import { compilePolicies } from '#config/compile'
import { type Configuration, loadConfiguration } from '#config/load'
import { type ConfigMessage, readConfiguration } from '#config/read-configuration'

const SIDECAR = `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog }
spec:
  identity: { files: { certificate: c, key: k, bundle: b } }
  inbound: [{ listen: 127.0.0.1:7443, app: 127.0.0.1:8080 }]
`
const POLICY = 'allow:\n  and:\n    - spiffe_id: spiffe://example.org/a\n'

function folderOf(t: TestContext, files: Readonly<Record<string, string | Buffer>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-load-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  return folder
}

function load(folder: string, known?: ReadonlyMap<string, string>): Promise<Configuration> {
  return loadConfiguration({ file: join(folder, 'postern.yaml'), displayFolder: folder, ...(known === undefined ? {} : { known }) })
}

function problemsOf({ sidecar, roots }: Configuration): readonly Problem[] {
  return [...sidecar.problems, ...roots.flatMap((root) => [...root.problems, ...root.files.flatMap((file) => file.problems)])]
}

test('a document and its policies come through the worker, files of a folder sorted', async (t) => {
  const folder = folderOf(t, {
    'postern.yaml': `${SIDECAR}  policies: [policies/, other.json]\n`,
    'policies/b.yaml': POLICY,
    'policies/a.yml': `${POLICY}---\n${POLICY}`,
    'policies/team/c.yaml': POLICY,
    'policies/readme.md': 'not a policy',
    'policies/.hidden.yaml': 'not: [a policy',
    'other.json': '{"deny": {"or": [{"http_path": {"starts_with": "/x"}}]}}',
  })
  const loaded = await load(folder)
  assert.deepEqual(problemsOf(loaded).map(formatProblem), [])
  assert.equal(loaded.sidecar.config?.name, 'catalog')
  assert.match(loaded.sidecar.digest, /^[0-9a-f]{64}$/)
  const files = loaded.roots.flatMap((root) => root.files)
  assert.deepEqual(
    files.map(({ path, documents }) => [path.slice(folder.length + 1), ...documents.map(({ name }) => name)]),
    [
      ['policies/a.yml', 'a-1', 'a-2'],
      ['policies/b.yaml', 'b'],
      ['policies/team/c.yaml', 'c'],
      ['other.json', 'other'],
    ],
  )
})

test('a policy that is named twice is read once', async (t) => {
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [p/, p/a.yaml, p]\n`, 'p/a.yaml': POLICY })
  const loaded = await load(folder)
  assert.equal(loaded.roots.flatMap((root) => root.files).length, 1)
})

test('a volume of Kubernetes, with its links, is read once', async (t) => {
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [p/]\n`, 'p/..2026_01/a.yaml': POLICY })
  symlinkSync('..2026_01', join(folder, 'p/..data'))
  symlinkSync('..data/a.yaml', join(folder, 'p/a.yaml'))
  const loaded = await load(folder)
  assert.deepEqual(
    loaded.roots.flatMap((root) => root.files.map(({ path }) => path)),
    [join(folder, 'p/a.yaml')],
  )
})

test('a folder that links to itself is read once', async (t) => {
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [p/]\n`, 'p/a.yaml': POLICY })
  symlinkSync('.', join(folder, 'p/self'))
  assert.deepEqual(problemsOf(await load(folder)).map(formatProblem), [])
})

test('all faults of all files are reported at once, each with its file, line and column', async (t) => {
  const folder = folderOf(t, {
    'postern.yaml': `${SIDECAR}  policies: [p/, missing.yaml]\n`,
    'p/broken.yaml': 'allow: [\n',
    'p/latin1.yaml': Buffer.from([0x61, 0xe9]),
    'p/sidecar.yaml': SIDECAR,
    'p/unknown.yaml': 'allow:\n  and:\n    - spifee_id: spiffe://example.org/a\n',
    'p/good.yaml': POLICY,
  })
  const loaded = await load(folder)
  const lines = problemsOf(loaded).map(formatProblem)
  assert.match(lines[0] ?? '', /^p\/broken\.yaml:2:1: .*ERR_CONFIG_SYNTAX/)
  assert.match(lines[1] ?? '', /^p\/latin1\.yaml:1:1: The file is not UTF-8/)
  assert.match(lines[2] ?? '', /^p\/sidecar\.yaml:2:7: /)
  assert.ok(
    lines.some((line) => /^p\/unknown\.yaml:3:7: .*`spiffe_id`/.test(line)),
    lines.join('\n'),
  )
  assert.match(lines.at(-1) ?? '', /^missing\.yaml:1:1: .*does not exist; `spec.policies` names it.*ERR_CONFIG_FILE/)
  const states = loaded.roots.flatMap((root) => root.files).map(({ path, state }) => `${path.slice(folder.length + 3)} ${state}`)
  assert.deepEqual(states, ['broken.yaml failed', 'good.yaml read', 'latin1.yaml failed', 'sidecar.yaml failed', 'unknown.yaml failed'])
})

const sidecars: readonly (readonly [string, string | undefined, RegExp])[] = [
  ['that is missing', undefined, /postern\.yaml:1:1: .*does not exist/],
  ['that is empty', '# nothing\n', /1:1: The file holds no document; it needs one of kind Sidecar/],
  ['with a second document', `${SIDECAR}---\nallow: {}\n`, /8:1: The file holds more than one document/],
  ['with a fault', SIDECAR.replace('listen', 'lisen'), /6:15: .*no key `lisen`.*`listen`/],
]
for (const [what, text, expected] of sidecars) {
  test(`a sidecar document ${what} is a problem`, async (t) => {
    const folder = folderOf(t, text === undefined ? {} : { 'postern.yaml': text })
    const loaded = await load(folder)
    assert.equal(loaded.sidecar.config, undefined)
    assert.match(formatProblem(loaded.sidecar.problems[0]!), expected)
  })
}

test('an empty folder is a warning, and a file without policy an error: it may have held what denies', async (t) => {
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [p/, q.yaml]\n`, 'p/note.txt': '', 'q.yaml': '# later\n' })
  const problems = problemsOf(await load(folder))
  assert.deepEqual(
    problems.map(({ severity, message }) => `${severity} ${message}`),
    ['warning The folder holds no `.yaml`, `.yml` or `.json` file, so no policy.', 'error The file holds no policy.'],
  )
})

test('a socket in the place of a policy is a fault, not a wait', async (t) => {
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [s.yaml]\n` })
  const server = createServer().listen(join(folder, 's.yaml'))
  t.after(() => server.close())
  const [problem] = problemsOf(await load(folder))
  assert.match(problem!.message, /is not a regular file/)
})

test('what did not change is not parsed again, unless the document did', async (t) => {
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [p/]\n`, 'p/a.yaml': POLICY, 'p/b.yaml': POLICY })
  const first = await load(folder)
  const known = new Map([
    [join(folder, 'postern.yaml'), first.sidecar.digest],
    ...first.roots.flatMap((root) => root.files.map(({ path, digest }) => [path, digest] as const)),
  ])
  writeFileSync(join(folder, 'p/b.yaml'), `# changed\n${POLICY}`)
  const states = (loaded: Configuration): string[] => loaded.roots.flatMap((root) => root.files.map(({ state }) => state))
  assert.deepEqual(states(await load(folder, known)), ['unchanged', 'read'])
  writeFileSync(join(folder, 'postern.yaml'), `# changed\n${SIDECAR}  policies: [p/]\n`)
  assert.deepEqual(states(await load(folder, known)), ['read', 'read'])
})

test('a document of many rules comes in small messages, and whole', async (t) => {
  const rules = Array.from({ length: 1234 }, (_, index) => `    - name: r${index}\n      allow: { and: [{ http_path: /p/${index} }] }\n`)
  const policy = `apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: big }\nspec:\n  rules:\n${rules.join('')}`
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [big.yaml]\n`, 'big.yaml': policy })
  const request = { file: join(folder, 'postern.yaml'), displayFolder: folder, inForce: undefined, known: new Map<string, string>() }
  const messages: ConfigMessage[] = []
  for await (const message of readConfiguration(request)) messages.push(message)
  const parts = messages.filter((message) => message.type === 'part')
  assert.ok(parts.length > 10 && parts.every(({ document }) => document.rules.length <= 100))
  const loaded = await load(folder)
  const [document] = loaded.roots[0]!.files[0]!.documents
  assert.deepEqual(
    document!.rules.map(({ name }) => name),
    Array.from({ length: 1234 }, (_, index) => `r${index}`),
  )
  const [compiled] = await compilePolicies([document!], loaded.sidecar.config!, 1)
  assert.equal(compiled!.rules, 1234)
})

test('a file with a thousand faults reports a hundred, and how many more there are', async (t) => {
  const rules = Array.from({ length: 1000 }, () => '- allow: { and: [{ nonsense: 1 }] }\n').join('')
  const folder = folderOf(t, { 'postern.yaml': `${SIDECAR}  policies: [p.yaml]\n`, 'p.yaml': rules })
  const problems = problemsOf(await load(folder))
  assert.equal(problems.length, 101)
  assert.equal(problems.at(-1)!.message, 'There are 900 more problems in this file.')
})
