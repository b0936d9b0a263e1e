/** Names of hosts, in Host, in the target and in TLS's SNI (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { dial, readToEnd } from '../support/mtls-client.ts'
import { startProbe } from '../support/probe.ts'

const probe = await startProbe({
  policy: '- allow: { and: [accept: true] }\n- deny: { or: [http_host: admin.shop, http_host: "[::1]"] }\n',
})
after(() => probe[Symbol.asyncDispose]())

const request = (host: string, target = '/'): string => `GET ${target} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`

test('7 · hosts compared with case, port or trailing dot', async () => {
  const denied = [
    'admin.shop',
    'ADMIN.shop',
    'Admin.Shop',
    'admin.shop:80',
    'admin.shop:8080',
    'admin.shop:',
    'admin.shop.',
    'ADMIN.SHOP.:443',
    '[::1]',
    '[::1]:80',
  ]
  for (const host of denied) {
    const seen = await probe.send(request(host))
    assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_DENIED', ''], host)
  }
  for (const host of ['Other.Shop:8080', 'admin.shop.example', 'xadmin.shop']) {
    const { requests } = await probe.send(request(host))
    assert.ok(requests[0]?.head.includes(`\r\nhost: ${host}\r\n`), `${host} is forwarded as it was sent`)
  }
  const malformed = [
    '',
    'admin.shop@other',
    'other@admin.shop',
    'admin.shop, other',
    'admin.shop/x',
    'a b',
    '[::1',
    '::1',
    'h:99999',
    'h:8x',
    '%61dmin.shop',
    'h#',
    'h?x',
    'h\\x',
  ]
  for (const host of malformed) {
    const seen = await probe.send(request(host))
    assert.deepEqual([seen.status, seen.reason, seen.app], [400, 'ERR_HTTP_HOST', ''], JSON.stringify(host))
  }
  const ambiguous: readonly (readonly [string, string])[] = [
    ['GET / HTTP/1.1\r\nconnection: close\r\n\r\n', 'ERR_HTTP_HOST'],
    ['GET / HTTP/1.1\r\nhost: other\r\nhost: admin.shop\r\n\r\n', 'ERR_HTTP_HEADER_REPEATED'],
    [request('other', 'http://admin.shop/'), 'ERR_HTTP_HOST'],
    [request('admin.shop', 'http://other/'), 'ERR_HTTP_HOST'],
    [request('other', 'http://other@admin.shop/'), 'ERR_HTTP_HOST'],
  ]
  for (const [bytes, reason] of ambiguous) {
    const seen = await probe.send(bytes)
    assert.deepEqual([seen.status, seen.reason, seen.app], [400, reason, ''], bytes)
  }
  assert.equal((await probe.send(request('ADMIN.SHOP', 'http://admin.shop/'))).reason, 'ERR_POLICY_DENIED', 'of the target too')
  const forwarded = await probe.send(
    `GET / HTTP/1.1\r\nhost: other\r\nx-forwarded-host: admin.shop\r\nforwarded: host=admin.shop\r\nconnection: close\r\n\r\n`,
  )
  assert.doesNotMatch(forwarded.app, /admin/, 'what claims to be the host is not passed on')
})

test('8 · SNI that picks weaker TLS or another policy', async () => {
  const names = [
    '',
    'h',
    'admin.shop',
    'ADMIN.SHOP',
    'Admin.shop',
    'localhost',
    'a'.repeat(255),
    'xn--bcher-kva.example',
    '*.shop',
    'unknown.example',
  ]
  for (const servername of names) {
    const socket = await dial(probe.sidecar.port, probe.svid, { servername })
    assert.equal(socket.getProtocol(), 'TLSv1.3', servername)
    const answer = readToEnd(socket)
    socket.write(request('open.shop'))
    assert.match(await answer, /^HTTP\/1\.1 200 /, `${servername}: the name in TLS decides nothing`)

    const denied = await dial(probe.sidecar.port, probe.svid, { servername })
    const refusal = readToEnd(denied)
    denied.write(request('admin.shop'))
    assert.match(await refusal, /^HTTP\/1\.1 403 /, servername)

    const before = (await probe.sidecar.records()).length
    const anonymous = await dial(probe.sidecar.port, undefined, { servername })
    const silence = readToEnd(anonymous)
    anonymous.write(request('open.shop'))
    assert.equal(await silence, '', `${servername}: a certificate is asked for under every name`)
    const records = (await probe.sidecar.records()).slice(before)
    assert.deepEqual(
      records.map(({ msg, reason }) => [msg, reason]),
      [['handshake', 'ERR_TLS_NO_CERTIFICATE']],
    )
    await assert.rejects(dial(probe.sidecar.port, probe.svid, { servername, maxVersion: 'TLSv1.2' }), servername)
  }
})
