import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { policyCommand } from '#cli/policy'
import { runInProcess, runPostern } from '../support/run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-policy-'))
after(() => rmSync(folder, { recursive: true }))

const GOOD = `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: good }
spec:
  rules:
    - name: reads
      allow: { and: [{ service_account: cart }, { http_method: GET }] }
tests:
  - { request: { peer: spiffe://a/ns/b/sa/cart }, expect: allow, because: reads }
  - { name: nobody else, request: { peer: spiffe://a/ns/b/sa/web }, expect: deny }
`
const FAILING = GOOD.replace('expect: allow, because: reads', 'expect: allow, because: other').replace('name: good', 'name: failing')
const SUSPICIOUS = 'allow: { and: [{ http_path: { starts_with: /a } }, { trust_domain: example.org }] }\n'
const WRONG = '- allow: { and: [{ http_pth: /a }] }\n- deny: { or: [] }\n'

mkdirSync(join(folder, 'all', 'deeper'), { recursive: true })
mkdirSync(join(folder, 'empty'))
for (const [name, text] of [
  ['good.yaml', GOOD],
  ['failing.yaml', FAILING],
  ['suspicious.yaml', SUSPICIOUS],
  ['wrong.yaml', WRONG],
  ['broken.yaml', 'a: [\n'],
  ['latin1.yaml', Buffer.from('name: \xe9\n', 'latin1')],
  ['comment.yaml', '# nothing\n'],
  ['all/a.yaml', GOOD],
  ['all/deeper/b.yml', SUSPICIOUS],
  ['all/notes.txt', 'no policy'],
  ['all/c.json', '{ "deny": { "or": [{ "http_method": "TRACE" }] } }'],
] as const) {
  writeFileSync(join(folder, name), text)
}

const run = (...args: string[]) => runInProcess(policyCommand, args, { cwd: folder })

test('a good policy is well, and what was read is said on stderr', async () => {
  assert.deepEqual(await run('check', 'good.yaml'), {
    status: 0,
    stdout: '',
    stderr: '1 file, 1 good policy, 1 rule: 0 errors, 0 warnings\n',
  })
})

test('errors are lines with file, line and column, and status 2', async () => {
  const { status, stdout, stderr } = await run('check', 'wrong.yaml', 'good.yaml')
  assert.equal(status, 2)
  assert.equal(
    stdout,
    `wrong.yaml:1:20: There is no criterion \`http_pth\`. Did you mean \`http_path\`? (ERR_POLICY_UNKNOWN)
wrong.yaml:2:15: \`or\` must not be empty. (ERR_POLICY_EMPTY)
`,
  )
  assert.equal(stderr, '2 files, 1 good policy, 1 rule: 2 errors, 0 warnings\n')
})

test('warnings do not fail, unless --strict', async () => {
  const { status, stdout } = await run('check', 'suspicious.yaml')
  assert.equal(status, 0)
  assert.match(
    stdout,
    /^suspicious\.yaml:1:18: warning: `http_path` that starts with `\/a` takes `\/ax` too\. Did you mean `\/a\/`\? \(ERR_POLICY_LOOSE_AFFIX\)\n$/,
  )
  assert.equal((await run('check', 'suspicious.yaml', '--strict')).status, 1)
  assert.equal((await run('check', 'good.yaml', '--strict')).status, 0)
  assert.equal((await run('check', 'wrong.yaml', '--strict')).status, 2)
})

test('a folder is read with the folders in it, policies only', async () => {
  const { status, stderr } = await run('check', 'all', 'all/a.yaml')
  assert.equal(status, 0)
  assert.match(stderr, /^3 files, 3 good policies, 3 rules/)
})

test('as JSON, each complaint has its place', async () => {
  const { stdout } = await run('check', 'wrong.yaml', '--output', 'json')
  const report = JSON.parse(stdout) as { errors: number; problems: Record<string, unknown>[] }
  assert.equal(report.errors, 2)
  assert.deepEqual(report.problems[0], {
    file: 'wrong.yaml',
    line: 1,
    column: 20,
    severity: 'error',
    code: 'ERR_POLICY_UNKNOWN',
    message: 'There is no criterion `http_pth`.',
    suggestion: 'http_path',
  })
})

const UNREADABLE: readonly (readonly [string, RegExp])[] = [
  ['missing.yaml', /missing\.yaml:1:1: .*does not exist/],
  ['broken.yaml', /broken\.yaml:\d+:\d+: .*ERR_CONFIG_SYNTAX/],
  ['latin1.yaml', /latin1\.yaml:1:1: The file is not UTF-8/],
  ['comment.yaml', /comment\.yaml:1:1: The file holds no policy/],
  ['empty', /empty:1:1: The folder holds no/],
]

for (const [file, message] of UNREADABLE) {
  test(`${file} is an error of its own`, async () => {
    const { status, stdout } = await run('check', file)
    assert.equal(status, 2)
    assert.match(stdout, message)
    assert.equal((await run('test', file)).status, 2)
  })
}

test('tests that pass are status 0', async () => {
  assert.deepEqual(await run('test', 'good.yaml'), {
    status: 0,
    stdout: '√ allow spiffe://a/ns/b/sa/cart GET\n√ nobody else\n',
    stderr: '2 passed, 0 failed\n',
  })
})

test('a test that fails is status 1 and says what came out', async () => {
  const { status, stdout, stderr } = await run('test', 'good.yaml', 'failing.yaml')
  assert.equal(status, 1)
  assert.match(stdout, /× allow .*\n {2}failing\.yaml:9:5: allowed by rule reads, expected allowed by other\n√ nobody else\n$/)
  assert.equal(stderr, '3 passed, 1 failed\n')
  const json = JSON.parse((await run('test', 'failing.yaml', '--output', 'json')).stdout) as {
    passed: number
    failed: number
    tests: object[]
  }
  assert.deepEqual([json.passed, json.failed, json.tests.length], [1, 1, 2])
})

test('files without tests are said to have none', async () => {
  const { status, stderr } = await run('test', 'suspicious.yaml')
  assert.equal(status, 0)
  assert.match(stderr, /There are no tests/)
})

test('errors of a document keep its tests from running', async () => {
  const { status, stderr } = await run('test', 'wrong.yaml')
  assert.equal(status, 2)
  assert.match(stderr, /http_pth/)
})

test('wrong usage is status 2 and says what to do', async () => {
  for (const [args, message] of [
    [[], /which\? .*check, test, who-can and what-can/],
    [['chek'], /Did you mean `check`/],
    [['check'], /FILE… is missing/],
    [['check', '--stict', 'x'], /Did you mean `--strict`/],
    [['check', 'good.yaml', '--output', 'yaml'], /`json` or `text`/],
    [['test', 'good.yaml', '--at', 'noon'], /RFC 3339/],
  ] as const) {
    const { status, stderr } = await run(...args)
    assert.equal(status, 2, args.join(' '))
    assert.match(stderr, message)
  }
})

test('as a program, the command prints its help and its verdict', async () => {
  const help = await runPostern(['policy', 'check', '--help'])
  assert.equal(help.status, 0)
  assert.match(help.stdout, /Example:\n {2}postern policy check policies\/\n$/)
  const { status, stdout } = await runPostern(['policy', 'check', 'wrong.yaml'], { cwd: folder })
  assert.equal(status, 2)
  assert.match(stdout, /^wrong\.yaml:1:20:/)
})
