/** Policies that cost, mean something else, or lose a condition on the way (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { loadConfiguration } from '#config/load'
import { decide } from '#policy/decide'
import { protocolProblems } from '#policy/protocol'
import { compile, NOON, peer, policies, readPolicies, request, SCOPE } from '../support/policies.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { get, startProbe } from '../support/probe.ts'
import { runSidecar } from '../support/sidecar.ts'

test('34 · patterns that are slow on text made for them', async (t) => {
  const matchers = [
    'is: /a',
    'not: /a',
    'in: [/a, /b]',
    'not_in: [/a, /b]',
    'starts_with: /aaaaaaaa',
    'ends_with: aaaaaaab',
    'contains: aaaaaaaaaaaaaaaaab',
  ]
  const patterns = ['/{a}/{b}/{c}/{d}/{e}/x', '/{a}/{**}', '/a/{b}/a/{c}/a/{d}/y']
  const rules = [
    ...matchers.flatMap((matcher) => [`http_path: { ${matcher} }`, `header/x: { ${matcher} }`, `query/q: { ${matcher} }`]),
    ...patterns.map((pattern) => `http_path: { matches: "${pattern}" }`),
  ].map((criterion) => `- deny: { and: [http_method: PUT, ${criterion}] }`)
  await using probe = await startProbe({ policy: `${rules.join('\n')}\n- allow: { and: [accept: true] }\n` })
  let slowest = 0
  const long = ['/' + 'a'.repeat(30_000), '/a'.repeat(15_000), '/' + 'aaaaaaaaaaaaaaaa'.repeat(1800), '/%C3%A9'.repeat(4000)]
  for (const text of long) {
    const bytes = `PUT ${text}?q=${'a'.repeat(20_000)} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: ${'a'.repeat(8000)}\r\n\r\n`
    const seen = await probe.send(bytes)
    assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_DENIED', ''])
    slowest = Math.max(slowest, Number(seen.records[0]?.['decide_us']))
  }
  t.diagnostic(`slowest decision of ${rules.length} rules on 60 KB: ${slowest} µs`)
  assert.ok(slowest < 1_000_000, 'a pattern that backtracks would take minutes')
  const { problems } = readPolicies('allow: { and: [http_path: { regex: "(a+)+$" }] }')
  assert.match(problems.map(formatProblem).join('\n'), /regex/, 'there are no regular expressions')
})

test('35 · names that would be patterns', async () => {
  await using probe = await startProbe({
    policy: `
- allow: { and: [service_account: a.b] }
- allow: { and: [service_account: { starts_with: "x.y" }] }
- allow: { and: [http_path: /a.b+c*] }
- allow: { and: [header/x: { contains: ".*" }] }
- allow: { and: [header/y: { ends_with: "(a|b)$" }] }
- allow: { and: [query/q: "[a-z]+"] }
`,
  })
  const { mesh } = probe.sidecar
  const status = async (bytes: string, account = 'caller'): Promise<number> =>
    (await probe.send(bytes, await mesh.issue(`/ns/test/sa/${account}`))).status
  for (const [account, expected] of [
    ['a.b', 200],
    ['axb', 403],
    ['a-b', 403],
    ['x.y.z', 200],
    ['xzy', 403],
  ] as const) {
    assert.equal(await status(get('/'), account), expected, account)
  }
  for (const [target, lines, expected] of [
    ['/a.b+c*', [], 200],
    ['/axbc', [], 403],
    ['/a.bbbcc', [], 403],
    ['/', ['x: a.*b'], 200],
    ['/', ['x: abc'], 403],
    ['/', ['y: (a|b)$'], 200],
    ['/', ['y: a'], 403],
    ['/?q=[a-z]+', [], 200],
    ['/?q=abc', [], 403],
  ] as const) {
    assert.equal(await status(get(target, ...lines)), expected, `${target} ${lines.join()}`)
  }
})

test('36 · deny rules on a part of a principal that never match', async () => {
  const DENY = [
    'spiffe_id: { ends_with: /sa/evil }',
    'spiffe_id: { starts_with: "spiffe://example.org/ns/evil/" }',
    'spiffe_id: { contains: evil }',
    'service_account: { ends_with: evil }',
    'trust_domain: { not: example.org }',
  ]
  for (const criterion of DENY) {
    const documents = policies(`- allow: { and: [accept: true] }\n- deny: { or: [${criterion}] }\n`)
    const evil = peer(criterion.startsWith('trust_domain') ? 'spiffe://evil.example/ns/a/sa/b' : 'spiffe://example.org/ns/evil/sa/evil')
    for (const protocol of ['http', 'grpc', 'tcp'] as const) {
      const facts = (of: typeof evil) => request({ protocol, peer: of })
      assert.equal(decide(compile(documents), facts(evil), NOON).reason, 'ERR_POLICY_DENIED', `${criterion} over ${protocol}`)
      assert.equal(decide(compile(documents), facts(peer('spiffe://example.org/ns/shop/sa/cart')), NOON).allow, true, criterion)
    }
  }
  await using probe = await startProbe({
    policy: '- allow: { and: [accept: true] }\n- deny: { or: [spiffe_id: { ends_with: /sa/evil }] }\n',
  })
  const seen = await probe.send(get('/'), await probe.sidecar.mesh.issue('/ns/any/sa/evil'))
  assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_DENIED', ''])
  assert.equal((await probe.send(get('/'))).status, 200)
  for (const pattern of ['spiffe_id: "spiffe://example.org/ns/*"', 'spiffe_id: "*/sa/evil"']) {
    const { problems } = readPolicies(`deny: { or: [${pattern}] }`)
    assert.notEqual(problems.length, 0, `${pattern}: what looks like a wildcard and is none is not silently taken as a name`)
  }
})

test('37 · rules about HTTP that govern opaque connections', async () => {
  const tcp = { ...SCOPE, name: '0.0.0.0:5432', protocol: 'tcp', ignoreCase: false } as const
  for (const criterion of ['http_path: /a', 'http_method: GET', 'header/x: a', 'claim/role: admin']) {
    for (const action of ['allow', 'deny']) {
      const [document] = policies(`${action}: { and: [{ accept: true }, { ${criterion} }] }`)
      assert.deepEqual(
        protocolProblems(document!, [tcp]).map(({ code, severity }) => [code, severity]),
        [['ERR_POLICY_PROTOCOL', 'error']],
        `${action} ${criterion}: refused at load, neither ignored nor widened`,
      )
    }
  }
  const policy = '- allow: { and: [accept: true] }\n- deny: { or: [http_path: /admin] }\n'
  await assert.rejects(runSidecar({ policy, inbound: '      protocol: tcp\n' }), /ERR_POLICY_PROTOCOL/, 'so the sidecar does not start')
})

test('38 · a condition that an older version does not know', async (t) => {
  const GOOD = '- allow: { and: [http_path: { starts_with: /open }] }\n'
  await using probe = await startProbe({ policy: GOOD })
  const { sidecar } = probe
  const mutations = [
    '- allow: { and: [http_path: { starts_with: / }, future_condition: x] }',
    '- allow: { and: [http_path: { starts_with: /, future_matcher: x }] }',
    '- allow: { and: [accept: true], unless: [http_path: /x] }',
    '- allow: { and: [accept: true] }\n  when: tomorrow',
    '- allow: { xor: [accept: true] }',
    '- permit: { and: [accept: true] }',
    '- allow: { and: [] }',
    '- allow:',
    '- allow: { and: [accept: false] }',
    'apiVersion: postern.dev/v2\nkind: Policy\nmetadata: { name: a }\nspec: { rules: [{ allow: { and: [accept: true] } }] }',
    'apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec: { conditions: [x], rules: [{ allow: { and: [accept: true] } }] }',
    'apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec: { mode: audit, rules: [{ allow: { and: [accept: true] } }] }',
    '- allow: { and: [accept: true] }\n- allow: { and: [accept: true',
    '- allow: { and: [accept: true], and: [http_path: /x] }',
    '- allow: &a { and: [accept: true] }\n- deny: { or: [<<: *a] }',
    '',
    'null',
    '[]',
  ]
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'policies'))
  mutations.forEach((text, index) => writeFileSync(join(folder, 'policies', `${index}.yaml`), text))
  writeFileSync(join(folder, 'sidecar.yaml'), readFileSync(join(sidecar.dir, 'sidecar.yaml'), 'utf8').replace('policy.yaml', 'policies/'))
  const { roots } = await loadConfiguration({ file: join(folder, 'sidecar.yaml'), displayFolder: folder })
  const files = roots.flatMap((root) => root.files)
  assert.equal(files.length, mutations.length)
  for (const { path, state, problems } of files) {
    const text = mutations[Number(basename(path, '.yaml'))]
    assert.deepEqual([state, problems.some(({ severity }) => severity === 'error')], ['failed', true], JSON.stringify(text))
  }

  for (const text of [mutations[0]!, '']) {
    sidecar.write('policy.yaml', `${text}\n`)
    await sidecar.source.reload()
    const status = sidecar.source.status().find(({ input }) => input.endsWith('policy.yaml'))
    assert.ok(status?.error, `${JSON.stringify(text)}: what is refused shows`)
    assert.equal(sidecar.source.lastReload.successful, false, text)
    const seen = await probe.send(get('/closed'))
    assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_NO_ALLOW', ''], text)
    assert.equal((await probe.send(get('/open'))).status, 200, `${JSON.stringify(text)}: the last good version is in force`)
  }
})
