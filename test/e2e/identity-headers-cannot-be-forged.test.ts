import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startRawApp } from '../fakes/apps.ts'
import { sendRaw } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const NAMES = ['x-postern-principal', 'x-postern-token-principal', 'x-postern-assertion', 'x-forwarded-client-cert', 'x-forwarded-for']

/** Spellings that some app or framework reads as the same name. */
function spellings(name: string): string[] {
  return [
    name,
    name.toUpperCase(),
    name.replaceAll('-', '_'),
    name.replaceAll('-', '.'),
    name.replace('-', '_'),
    `${name}-`,
    `_${name}`,
    name.replaceAll('-', ''),
    name.replaceAll('-', '--'),
    name.replaceAll('-', "'"),
  ]
}

test('50 spellings of identity headers, in heads, in trailers and named by Connection: the app sees ours only', async () => {
  const evil = 'spiffe://example.org/ns/evil/sa/root'
  await using app = await startRawApp((socket, text) => {
    if (/\r\n0\r\n([^]*\r\n)?\r\n$/.test(text)) socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
  })
  await using sidecar = await runSidecar({ app: app.port })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  for (const name of NAMES.flatMap(spellings)) {
    const answer = await sendRaw(
      sidecar.port,
      svid,
      `POST / HTTP/1.1\r\nhost: h\r\nconnection: close, x-postern-principal, x-forwarded-client-cert, ${name}\r\ntransfer-encoding: chunked\r\n` +
        `${name}: ${evil}\r\nforwarded: for=${evil}\r\n\r\n1\r\na\r\n0\r\n${name}: ${evil}\r\n\r\n`,
    )
    assert.match(answer, /^HTTP\/1\.1 200 /, name)
    const received = app.connections.at(-1)?.text ?? ''
    assert.ok(!received.includes('evil'), `${name} came through:\n${received}`)
    assert.ok(received.includes('\r\nx-postern-principal: spiffe://example.org/ns/test/sa/caller\r\n'), received)
    assert.equal(
      received.match(/x-forwarded-client-cert: By=spiffe:\/\/example\.org\/ns\/test\/sa\/service;Hash=[0-9a-f]{64};URI=/g)?.length,
      1,
    )
  }
})

test('headers that override path or method stay out unless the listener opts in', async () => {
  const answer = (socket: { end(text: string): unknown }): void =>
    void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
  const request = 'GET /a HTTP/1.1\r\nhost: h\r\nconnection: close\r\nX-Original-URL: /admin\r\nx_http_method_override: DELETE\r\n\r\n'
  for (const [inbound, passed] of [
    ['', false],
    ['      paths: { allow: [override-headers] }\n', true],
  ] as const) {
    await using app = await startRawApp(answer)
    await using sidecar = await runSidecar({ app: app.port, inbound })
    await sendRaw(sidecar.port, await sidecar.mesh.issue('/ns/test/sa/caller'), request)
    const received = app.connections[0]?.text ?? ''
    assert.equal(/original-url/i.test(received), passed)
    assert.equal(/override/i.test(received), passed)
  }
})

test('a listed forwarder’s own XFCC is kept and appended to; anybody else’s is replaced', async () => {
  const elsewhere = 'By=spiffe://example.org/gw;Hash=00;URI=spiffe://example.org/ns/a/sa/origin'
  for (const [path, kept] of [
    ['/ns/edge/sa/gateway', true],
    ['/ns/test/sa/caller', false],
  ] as const) {
    await using app = await startRawApp((socket) => void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'))
    await using sidecar = await runSidecar({ app: app.port, spec: '  forwarders: [spiffe://example.org/ns/edge/sa/gateway]\n' })
    const svid = await sidecar.mesh.issue(path)
    await sendRaw(sidecar.port, svid, `GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-forwarded-client-cert: ${elsewhere}\r\n\r\n`)
    const line = /x-forwarded-client-cert: ([^\r]*)/.exec(app.connections[0]?.text ?? '')?.[1] ?? ''
    assert.equal(line.startsWith(`${elsewhere},By=`), kept, line)
    assert.ok(line.endsWith(`URI=spiffe://example.org${path}`))
  }
})
