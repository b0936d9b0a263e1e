import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { policyCommand } from '#cli/policy'
import { type CommandRun, runInProcess } from '../support/run-command.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-policy-reach-'))
after(() => rmSync(folder, { recursive: true }))

writeFileSync(
  join(folder, 'policy.yaml'),
  `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: catalog }
spec:
  rules:
    - name: reads
      allow:
        and:
          - spiffe_id: { in: [spiffe://example.org/ns/shop/sa/cart, spiffe://example.org/ns/shop/sa/web] }
          - http_method: { in: [GET, HEAD] }
          - http_path: { starts_with: /catalog/ }
    - name: on-call
      allow:
        and: [{ namespace: ops }, { header/x-ticket: { present: true } }, { http_path: { starts_with: /catalog/ } }]
    - name: no-internals
      deny: { and: [{ http_path: { starts_with: /catalog/internal/ } }, { service_account: web }] }
    - name: nights
      deny: { and: [{ namespace: shop }, { time_of_day: { timezone: UTC, after: '22:00', before: '6:00' } }] }
---
apiVersion: postern.dev/v1
kind: Policy
metadata: { name: later }
spec:
  mode: shadow
  rules: [{ name: all-of-ops, allow: { and: [{ namespace: ops }] } }]
`,
)
writeFileSync(join(folder, 'two.yaml'), 'spec: {}\n')

const run = (...args: readonly string[]): Promise<CommandRun> => runInProcess(policyCommand, args, { cwd: folder })
const ask = (...args: readonly string[]): Promise<CommandRun> => run(...args, '--policies', 'policy.yaml')

test('who-can lists callers by name, what is left open, and what overrules', async () => {
  const { status, stdout } = await ask('who-can', 'GET', '/catalog/internal/1')
  assert.equal(status, 0)
  assert.equal(
    stdout,
    `GET /catalog/internal/1 is allowed to
  spiffe://example.org/ns/shop/sa/cart — rule reads of catalog (policy.yaml:8:9)
    unless time_of_day after 22:00:00 and before 06:00:00 (UTC) — deny rule nights of catalog (policy.yaml:18:15)
  any caller with namespace is ops if header/x-ticket present — rule on-call of catalog (policy.yaml:14:9)
    unless service_account is web — deny rule no-internals of catalog (policy.yaml:16:15)
overruled by deny rules
  spiffe://example.org/ns/shop/sa/web — rule reads of catalog (policy.yaml:8:9), by deny rule no-internals of catalog (policy.yaml:16:15)
`,
  )
})

test('a time that is given is no condition', async () => {
  const day = await ask('who-can', 'GET', '/catalog/1', '--at', '2026-06-15T12:00:00Z')
  assert.match(day.stdout, /sa\/cart — rule reads/)
  assert.doesNotMatch(day.stdout, /time_of_day/)
  const night = await ask('who-can', 'GET', '/catalog/1', '--at', '2026-06-15T23:00:00Z')
  assert.match(night.stdout, /overruled by deny rules\n {2}spiffe:\/\/example\.org\/ns\/shop\/sa\/cart — .*by deny rule nights/)
})

test('what-can lists requests and their conditions', async () => {
  const { status, stdout } = await ask('what-can', 'spiffe://example.org/ns/ops/sa/pager')
  assert.equal(status, 0)
  assert.match(stdout, /may do\n {2}any request with http_path starts_with \/catalog\/ if header\/x-ticket present — rule on-call/)
  assert.doesNotMatch(stdout, /reads|nights|no-internals/)
  const nobody = await ask('what-can', 'spiffe://example.org/ns/bank/sa/x')
  assert.deepEqual([nobody.status, nobody.stdout], [1, 'spiffe://example.org/ns/bank/sa/x may do nothing\n'])
  const shadow = await ask('what-can', 'spiffe://example.org/ns/ops/sa/pager', '--shadow')
  assert.match(shadow.stdout, /any request — rule all-of-ops/)
})

test('nobody is status 1, a path that is refused before policy says why', async () => {
  const nobody = await ask('who-can', 'DELETE', '/other')
  assert.deepEqual([nobody.status, nobody.stdout], [1, 'DELETE /other is allowed to nobody\n'])
  const refused = await ask('who-can', 'GET', '/a/../b')
  assert.equal(refused.status, 1)
  assert.match(refused.stdout, /is allowed to nobody: .*ERR_PATH_/)
})

test('as JSON, each grant has its conditions, exceptions and place', async () => {
  const { stdout } = await ask('who-can', 'GET', '/catalog/internal/1', '--output', 'json')
  const { allowed, grants, overruled } = JSON.parse(stdout)
  assert.equal(allowed, true)
  assert.deepEqual(
    grants.map(({ caller, if: conditions, unless, rule }: Record<string, unknown>) => [
      caller,
      conditions,
      (unless as unknown[]).length,
      rule,
    ]),
    [
      ['spiffe://example.org/ns/shop/sa/cart', [], 1, 'reads'],
      [null, ['namespace is ops', 'header/x-ticket present'], 1, 'on-call'],
    ],
  )
  assert.equal(overruled[0].by.rule, 'no-internals')
})

test('wrong usage is status 2 and says what to do', async () => {
  for (const [args, message] of [
    [['who-can', 'GET'], /METHOD PATH/],
    [['who-can', 'GET', '/a'], /`--policies` is missing/],
    [['what-can', 'cart', '--policies', 'policy.yaml'], /must be a SPIFFE ID/],
    [['what-can', 'spiffe://a/b', '--policies', 'two.yaml'], /two\.yaml/],
    [['who-can', 'GET', '/a', '--protocol', 'tcp', '--policies', 'policy.yaml'], /neither method nor path/],
  ] as const) {
    const { status, stderr } = await run(...args)
    assert.equal(status, 2, args.join(' '))
    assert.match(stderr, message)
  }
})
