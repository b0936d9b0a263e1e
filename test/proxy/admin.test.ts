import assert from 'node:assert/strict'
import { once } from 'node:events'
import { lstatSync, mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createRing } from '#audit/ring'
import type { Address } from '#base/units'
import { openAdminServer } from '#proxy/admin'
import type { AdminSources } from '#proxy/admin'
import { silentLog } from '#telemetry/log'
import { exchange, handshake, refusal, requestFacts, TIME, token } from '../support/events.ts'
import { ask, askRaw } from '../support/small-client.ts'

const PEM = '-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\n'
const JWT = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlc2lnbmF0dXJl'

interface Orders {
  drained: number
  turnedAway: number
  level: string
}

function sources(orders: Orders): AdminSources {
  const decisions = createRing()
  decisions.add(exchange({ requestId: 'req-a' }))
  const headers = { names: ['authorization', 'cookie'], values: [`Bearer ${JWT}`, 'session=hunter2'] }
  decisions.add(
    refusal({ requestId: 'req-r', detail: 'rule #2', token, facts: requestFacts({ headers, query: 'access_token=hunter2', token }) }),
  )
  decisions.addHandshake(handshake({ id: 'shaken-1' }))
  decisions.addHandshake(handshake({ id: 'shaken-2', presented: undefined }))
  decisions.add(exchange({ requestId: 'req-m', decision: undefined, reason: 'ERR_HTTP_REQUEST_LINE', status: 400, facts: undefined }))
  return {
    decisions,
    explain: async ({ facts }) =>
      facts && {
        decision: { allow: false },
        considered: [{ criteria: [{ name: 'header/authorization', actual: `Bearer ${JWT}`, holds: false }] }],
      },
    generation: () => 8,
    digestOf: () => 'ab12',
    identity: () => ({ id: 'spiffe://example.org/ns/shop/sa/catalog', keyPem: PEM, note: PEM }),
    policies: () => ({ documents: [{ name: 'shop/catalog-readers' }] }),
    plaintext: () => [{ listener: 'l', sourceIp: '10.1.2.3', connections: 2, firstSeen: TIME, lastSeen: TIME }],
    connections: (limit) =>
      Array.from({ length: Math.min(limit, 3) }, () => ({
        listener: '0.0.0.0:7443',
        direction: 'inbound' as const,
        protocol: 'http1',
        peer: 'spiffe://example.org/ns/shop/sa/cart',
        sourceIp: '10.1.2.3',
        openedAt: TIME,
        notAfter: TIME + 1000,
        exchange: { requestId: 'req-live', method: 'GET', path: '/x', startedAt: TIME },
      })),
    config: () => ({ store: 'postgres://ca:hunter2@db/ca', file: '/etc/postern/sidecar.yaml' }),
    assertionKeys: () => ({ status: 200, text: '{"keys":[]}' }),
    drain: () => void orders.drained++,
    turnAway: () => void orders.turnedAway++,
    setLogLevel: (level) => void (orders.level = level),
  }
}

async function serving(kind: 'unix' | 'tcp', body: (target: string | number, orders: Orders) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-admin-'))
  const orders: Orders = { drained: 0, turnedAway: 0, level: 'info' }
  const address: Address = kind === 'unix' ? { kind, path: join(folder, 'admin.sock') } : { kind, host: '127.0.0.1', port: 0 }
  const server = await openAdminServer({ address, sources: sources(orders), log: silentLog })
  try {
    await body(address.kind === 'unix' ? address.path : (server.address() as AddressInfo).port, orders)
  } finally {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
    rmSync(folder, { recursive: true })
  }
}

const PAGES = ['/v1/decisions', '/v1/decisions/req-r', '/v1/identity', '/v1/policies', '/v1/connections', '/v1/config']

test('the latest decisions are records as in the log, newest first', () =>
  serving('unix', async (target) => {
    const { decisions } = (await ask(target, '/v1/decisions')).json() as { decisions: Record<string, unknown>[] }
    assert.deepEqual(
      decisions.map((record) => [record['request_id'], record['decision'], record['policy_digest']]),
      [
        ['req-m', 'deny', undefined],
        ['req-r', 'deny', 'ab12'],
        ['req-a', 'allow', 'ab12'],
      ],
    )
    const limited = (await ask(target, '/v1/decisions?limit=1')).json() as { decisions: unknown[] }
    assert.equal(limited.decisions.length, 1)
  }))

for (const limit of ['0', '-1', '2001', 'x', '', '1e3', '99999999999']) {
  test(`a limit of \`${limit}\` is refused`, () =>
    serving('unix', async (target) => {
      for (const page of ['/v1/decisions', '/v1/connections']) assert.equal((await ask(target, `${page}?limit=${limit}`)).status, 400)
    }))
}

test('one decision comes with its reason, its explanation, and whether policy has changed since', () =>
  serving('unix', async (target) => {
    const answer = (await ask(target, '/v1/decisions/req-r')).json() as Record<string, unknown>
    assert.equal((answer['record'] as Record<string, unknown>)['rule'], '#2')
    assert.equal((answer['reason'] as Record<string, unknown>)['code'], 'ERR_POLICY_DENIED')
    assert.deepEqual(answer['explained_with'], { policy_generation: 8, same: false })
    assert.deepEqual((answer['explanation'] as Record<string, unknown>)['decision'], { allow: false })
    assert.equal(answer['decisions_with_this_id'], 1)
    assert.equal(((await ask(target, '/v1/decisions/req-m')).json() as Record<string, unknown>)['explanation'], null)
    assert.equal((await ask(target, '/v1/decisions/unknown')).status, 404)
  }))

test('refused handshakes are listed newest first, and one is found by its id like a decision', () =>
  serving('unix', async (target) => {
    const { handshakes } = (await ask(target, '/v1/handshakes')).json() as { handshakes: Record<string, unknown>[] }
    assert.deepEqual(
      handshakes.map((record) => [record['msg'], record['handshake_id'], record['peer'] !== undefined]),
      [
        ['handshake', 'shaken-2', false],
        ['handshake', 'shaken-1', true],
      ],
    )
    assert.equal((await ask(target, '/v1/handshakes?limit=0')).status, 400)
    const one = (await ask(target, '/v1/decisions/shaken-1')).json() as Record<string, Record<string, unknown>>
    assert.deepEqual(
      [one['record']?.['handshake_id'], one['reason']?.['code'], one['explanation']],
      ['shaken-1', 'ERR_TLS_HANDSHAKE', null],
    )
  }))

test('connections are shown with their peer, their end, and what runs on them', () =>
  serving('unix', async (target) => {
    const { connections } = (await ask(target, '/v1/connections?limit=2')).json() as { connections: unknown[] }
    assert.equal(connections.length, 2)
    assert.deepEqual(connections[0], {
      listener: '0.0.0.0:7443',
      direction: 'inbound',
      protocol: 'http1',
      peer: 'spiffe://example.org/ns/shop/sa/cart',
      source_ip: '10.1.2.3',
      opened_at: '2026-11-24T18:41:07.123Z',
      ends_at: '2026-11-24T18:41:08.123Z',
      exchange: { request_id: 'req-live', method: 'GET', path: '/x', started_at: '2026-11-24T18:41:07.123Z' },
    })
  }))

for (const page of PAGES) {
  test(`no key, token, header value, query or password is on ${page}`, () =>
    serving('unix', async (target) => {
      const { status, text } = await ask(target, page)
      assert.equal(status, 200)
      assert.doesNotMatch(text, /MIGHAgEA|c2lnbmF0|hunter2/)
    }))
}

test('on the Unix socket, mode 0600, an operator drains and changes the level of the log', () =>
  serving('unix', async (target, orders) => {
    assert.equal(lstatSync(String(target)).mode & 0o777, 0o600)
    assert.equal((await ask(target, '/v1/drain', { method: 'POST' })).status, 202)
    assert.equal(orders.drained, 1)
    assert.equal((await ask(target, '/v1/turn-away', { method: 'POST' })).status, 202)
    assert.equal(orders.turnedAway, 1)
    const changed = await ask(target, '/v1/log-level', { method: 'POST', body: '{"level":"debug"}' })
    assert.deepEqual([changed.status, orders.level], [200, 'debug'])
    for (const body of ['{"level":"loud"}', '{}', '"debug"', '']) {
      assert.equal((await ask(target, '/v1/log-level', { method: 'POST', body })).status, 400, body)
    }
    assert.equal(orders.level, 'debug')
  }))

test('nothing changes by a GET', () =>
  serving('unix', async (target, orders) => {
    for (const path of ['/v1/drain', '/v1/turn-away', '/v1/log-level']) assert.equal((await ask(target, path)).status, 405)
    assert.deepEqual(orders, { drained: 0, turnedAway: 0, level: 'info' })
  }))

test('over TCP everything can be read and nothing ordered', () =>
  serving('tcp', async (target, orders) => {
    for (const page of PAGES) assert.equal((await ask(target, page)).status, 200, page)
    for (const path of ['/v1/drain', '/v1/turn-away', '/v1/log-level']) {
      assert.equal((await ask(target, path, { method: 'POST', body: '{"level":"debug"}' })).status, 404, path)
    }
    assert.deepEqual(orders, { drained: 0, turnedAway: 0, level: 'info' })
  }))

test('over TCP a web page that made its name point here gets nothing', () =>
  serving('tcp', async (target) => {
    for (const page of PAGES) {
      const answer = await askRaw(Number(target), `GET ${page} HTTP/1.1\r\nHost: evil.example:7000\r\nOrigin: http://evil.example\r\n\r\n`)
      assert.match(answer, /^HTTP\/1\.1 403 /, page)
      assert.doesNotMatch(answer, /spiffe:|access-control/i)
    }
  }))

test('an address beyond this host is refused before anything listens', async () => {
  const orders = { drained: 0, turnedAway: 0, level: 'info' }
  for (const host of ['0.0.0.0', '::', '10.1.2.3']) {
    const opening = openAdminServer({ address: { kind: 'tcp', host, port: 0 }, sources: sources(orders), log: silentLog })
    await assert.rejects(opening, { code: 'ERR_LISTEN' }, host)
  }
})
