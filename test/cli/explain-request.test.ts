import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { REASONS } from '#base/reasons'
import { explainCommand } from '#cli/explain'
import { openAdminServer } from '#proxy/admin'
import { adminSources } from '#proxy/admin-sources'
import { silentLog } from '#telemetry/log'
import { startApp, startRawApp } from '../fakes/apps.ts'
import { startH2cApp } from '../fakes/h2c-app.ts'
import { refusedHandshake } from '../support/handshakes.ts'
import { ask, openSession } from '../support/http2-client.ts'
import { call, createMtlsAgent, dial, readToEnd, sendRaw } from '../support/mtls-client.ts'
import { runInProcess } from '../support/run-command.ts'
import { runSidecar } from '../support/sidecar.ts'
import type { RunningSidecar } from '../support/sidecar.ts'

const POLICY = `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: readers, namespace: test }
spec:
  rules:
    - name: callers-read
      allow:
        and:
          - service_account: { is: caller }
          - http_method: { in: [GET, HEAD] }
    - name: removals
      allow: { and: [{ http_method: DELETE }] }
      limit: { requests: 1/h }
`

async function openAdmin({ sidecar, source, ring }: RunningSidecar, path: string): Promise<Server> {
  const nothing = (): void => undefined
  const sources = adminSources({ sidecar, source, ring, clock: systemClock, digestOf: () => '', drain: nothing, setLogLevel: nothing })
  return openAdminServer({ address: { kind: 'unix', path }, sources, log: silentLog })
}

async function end(server: Server): Promise<void> {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}

test('a request that a running sidecar decided is explained by its id: allowed, refused, and refused before policy', async () => {
  await using app = await startApp((_request, response) => response.end('hello'))
  await using sidecar = await runSidecar({ app: app.port, policy: POLICY })
  const admin = await openAdmin(sidecar, join(sidecar.dir, 'postern-admin.sock'))
  const explain = (...args: string[]) => runInProcess(explainCommand, args, { cwd: sidecar.dir })
  try {
    const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
    using agent = createMtlsAgent(svid)
    await call(sidecar.port, agent, '/items', { headers: { 'x-request-id': 'read-1' } })
    await call(sidecar.port, agent, '/items', { method: 'POST', headers: { 'x-request-id': 'write-1' } })
    await call(sidecar.port, agent, '/items', { method: 'DELETE' })
    await call(sidecar.port, agent, '/items', { method: 'DELETE', headers: { 'x-request-id': 'limited-1' } })
    await sendRaw(sidecar.port, svid, 'GET /a%2Fb HTTP/1.1\r\nhost: h\r\nx-request-id: path-1\r\nconnection: close\r\n\r\n')
    const allowed = await explain('read-1')
    assert.equal(allowed.status, 0, allowed.stderr)
    assert.match(
      allowed.stdout,
      /^GET .*\/items from spiffe:\/\/\S+\/ns\/test\/sa\/caller at \S+, answered 200\nallowed by allow rule callers-read/,
    )

    const refused = await explain('write-1', '--admin', 'unix:postern-admin.sock')
    assert.equal(refused.status, 1, refused.stderr)
    assert.match(refused.stdout, /^POST .*answered 403\nrefused: /)
    assert.match(refused.stdout, /× http_method in \[?.*GET.*it is.*POST/)

    const before = await explain('path-1')
    assert.equal(before.status, 1, before.stderr)
    assert.match(before.stdout, /refused before policy was asked: .*\(ERR_PATH_ENCODED_SLASH\)/)

    const limited = await explain('limited-1')
    assert.equal(limited.status, 1, limited.stderr)
    assert.match(
      limited.stdout,
      /^DELETE .*answered 429\nallowed by allow rule removals .*\n[^]*\n  at most 1 request\/h per peer, burst 1\n/,
    )
    assert.match(limited.stdout, /\nand then: .*`limit`.* \[at most 1 request\/h per peer, burst 1\] \(ERR_RATE_LIMITED\)\n/)
    assert.doesNotMatch(limited.stdout, /refused/)

    const json = await explain('write-1', '--output', 'json')
    assert.equal(json.status, 1)
    const { record, explained_with: by } = JSON.parse(json.stdout) as { record: Record<string, unknown>; explained_with: unknown }
    assert.equal(record['request_id'], 'write-1')
    assert.deepEqual(by, { policy_generation: sidecar.source.current.generation, same: true })

    await sidecar.setPolicy(POLICY.replace('GET, HEAD', 'GET, HEAD, POST'))
    const since = await explain('write-1')
    assert.equal(since.status, 1)
    assert.match(since.stdout, /policies have changed since; this is what those in force now say\n {2}it was refused then\nallowed by/)
  } finally {
    await end(admin)
  }
})

test('a request whose app was away is explained as allowed, with what failed then', async () => {
  await using sidecar = await runSidecar({ policy: POLICY })
  const admin = await openAdmin(sidecar, join(sidecar.dir, 'postern-admin.sock'))
  try {
    using agent = createMtlsAgent(await sidecar.mesh.issue('/ns/test/sa/caller'))
    await call(sidecar.port, agent, '/items', { headers: { 'x-request-id': 'away-1' } })
    const { status, stdout } = await runInProcess(explainCommand, ['away-1'], { cwd: sidecar.dir })
    assert.equal(status, 0)
    assert.match(stdout, /answered 502\nallowed by/)
    assert.match(stdout, /and then: .*\(ERR_UPSTREAM_UNREACHABLE\)/)
  } finally {
    await end(admin)
  }
})

test('a request over HTTP/2 is explained by its id: refused, limited, and a call of gRPC', async () => {
  await using app = await startH2cApp((stream) => {
    stream.respond({ ':status': 200 })
    stream.end()
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: '      protocol: http2\n', policy: POLICY })
  const admin = await openAdmin(sidecar, join(sidecar.dir, 'postern-admin.sock'))
  const explain = (id: string) => runInProcess(explainCommand, [id], { cwd: sidecar.dir })
  try {
    using session = openSession(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'))
    const send = (id: string, method: string, more = {}) =>
      ask(session, { ':path': '/pkg.Service/Method', ':method': method, 'x-request-id': id, ...more })
    await send('h2-write', 'PUT')
    await send('h2-first', 'DELETE')
    await send('h2-limited', 'DELETE')
    await send('h2-grpc', 'POST', { 'content-type': 'application/grpc', te: 'trailers' })

    const refused = await explain('h2-write')
    assert.equal(refused.status, 1, refused.stderr)
    assert.match(refused.stdout, /^PUT .*\/pkg\.Service\/Method from spiffe:\S+\/caller at \S+, answered 403\nrefused: /)
    assert.match(refused.stdout, /× http_method in \[?.*GET.*it is.*PUT/)
    const limited = await explain('h2-limited')
    assert.equal(limited.status, 1, limited.stderr)
    assert.match(limited.stdout, /answered 429\nallowed by allow rule removals [^]*\nand then: .*\(ERR_RATE_LIMITED\)\n/)
    const grpc = await explain('h2-grpc')
    assert.equal(grpc.status, 1, grpc.stderr)
    assert.match(grpc.stdout, /^POST [^]*refused: [^]*× http_method/)
  } finally {
    await end(admin)
  }
})

test('a connection of opaque TCP is explained by the id in its record', async () => {
  await using app = await startRawApp(() => {})
  const policy = '- allow: { and: [ spiffe_id: spiffe://example.org/ns/test/sa/friend ] }\n'
  await using sidecar = await runSidecar({ app: app.port, inbound: '      protocol: tcp\n', policy })
  const admin = await openAdmin(sidecar, join(sidecar.dir, 'postern-admin.sock'))
  try {
    await readToEnd(await dial(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/stranger')))
    const record = await sidecar.record(({ msg }) => msg === 'decision')
    const { status, stdout, stderr } = await runInProcess(explainCommand, [String(record['request_id'])], { cwd: sidecar.dir })
    assert.equal(status, 1, stderr)
    assert.match(stdout, /^a connection from spiffe:\S+\/stranger at \S+, no answer\nrefused: /)
    assert.match(stdout, /× spiffe_id is spiffe:\S+\/friend — it is spiffe:\S+\/stranger/)
  } finally {
    await end(admin)
  }
})

test('a refused handshake is explained by the id in its record, with the identity that was presented and what to do', async () => {
  await using sidecar = await runSidecar()
  const admin = await openAdmin(sidecar, join(sidecar.dir, 'postern-admin.sock'))
  const explain = (...args: string[]) => runInProcess(explainCommand, args, { cwd: sidecar.dir })
  try {
    const expired = await sidecar.mesh.issueFlawed({ notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 3_600_000 })
    const late = String((await refusedHandshake(sidecar, expired))['handshake_id'])
    const bare = String((await refusedHandshake(sidecar, undefined))['handshake_id'])
    assert.match(late, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.notEqual(late, bare)

    const { status, stdout, stderr } = await explain(late)
    assert.equal(status, 1, stderr)
    const { what, remedy } = REASONS.ERR_SVID_EXPIRED
    const [first = '', presented = '', reason = '', advice] = stdout.split('\n')
    assert.match(first, /^a handshake from 127\.0\.0\.1 on 127\.0\.0\.1:0 at \S+, closed$/)
    assert.match(presented, /^ {2}presented was spiffe:\/\/example\.org\/ns\/shop\/sa\/cart, serial [0-9a-f]+, until 20\S+Z$/)
    assert.ok(reason.startsWith(`refused before any request: ${what}`) && reason.endsWith('(ERR_SVID_EXPIRED)'), reason)
    assert.equal(advice, `  ${remedy}`)

    const nobody = await explain(bare)
    assert.equal(nobody.status, 1, nobody.stderr)
    assert.match(nobody.stdout, /\n {2}no certificate was presented that could be read\nrefused .*\(ERR_TLS_NO_CERTIFICATE\)\n/)

    const json = JSON.parse((await explain(late, '--output', 'json')).stdout) as { record: { msg: string }; reason: { code: string } }
    assert.deepEqual([json.record.msg, json.reason.code], ['handshake', 'ERR_SVID_EXPIRED'])
  } finally {
    await end(admin)
  }
})

test('an id that is not kept is status 2 and says where to look', async () => {
  await using sidecar = await runSidecar()
  const admin = await openAdmin(sidecar, join(sidecar.dir, 'postern-admin.sock'))
  try {
    const { status, stderr } = await runInProcess(explainCommand, ['a/../b\u001b'], { cwd: sidecar.dir })
    assert.equal(status, 2)
    assert.match(
      stderr,
      /keeps nothing with the id a\/\.\.\/b\\u001b\. Only the latest 1,000 of each kind are kept.*ERR_ADMIN_REQUEST_UNKNOWN/s,
    )
  } finally {
    await end(admin)
  }
})

function withFolder(title: string, body: (folder: string) => Promise<void>): void {
  void test(title, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-explain-'))
    try {
      await body(folder)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}

withFolder('where no sidecar answers, the message says what to do, and the status is 2', async (folder) => {
  const cases = [
    { args: ['x'], says: /there is no such socket\. Name the one in `spec\.admin` with `--admin unix:PATH`/ },
    { args: ['x', '--admin', '127.0.0.1:1'], says: /nothing listens there/ },
    { args: ['x', '--admin', 'example.org:7000'], says: /is no admin address/ },
    { args: ['x', 'y'], says: /unexpected argument `y`/ },
    { args: ['--admin', 'unix:s'], says: /REQUEST_ID is missing/ },
    { args: ['x', '--output', 'xml'], says: /`json` or `text`/ },
    { args: ['x', '--admni', 'unix:s'], says: /Did you mean `--admin`/ },
  ]
  for (const { args, says } of cases) {
    const { status, stdout, stderr } = await runInProcess(explainCommand, args, { cwd: folder })
    assert.deepEqual([status, stdout], [2, ''], args.join(' '))
    assert.match(stderr, says)
  }
})

withFolder('something else on the address is not mistaken for a sidecar', async (folder) => {
  for (const text of ['<html>', '{}', 'null', '[]']) {
    const path = join(folder, 'other.sock')
    const server = createServer((_request, response) => response.end(text)).listen(path)
    await once(server, 'listening')
    const { status, stderr } = await runInProcess(explainCommand, ['x', '--admin', `unix:${path}`])
    assert.equal(status, 2)
    assert.match(stderr, /ERR_ADMIN_UNREACHABLE/)
    await end(server)
  }
})
