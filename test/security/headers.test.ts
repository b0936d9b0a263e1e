/** Headers that forge, hide or confuse (docs/security-tests.md). */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import * as fc from 'fast-check'
import { readGrpcTimeout } from '#proxy/grpc-timeout'
import { get, startProbe } from '../support/probe.ts'

const probe = await startProbe({
  policy: `
- allow: { and: [http_path: { starts_with: /open }] }
- allow: { and: [http_path: /needs, header/x-env: prod] }
- allow: { and: [http_path: /never, header/x-env: { not: test }] }
- allow: { and: [http_path: /utf8, header/x-name: "caf\\u00e9"] }
- deny: { or: [header/x-role: guest] }
- deny: { and: [http_path: /open/near, source_ip: 127.0.0.0/8] }
`,
})
after(() => probe[Symbol.asyncDispose]())

const EVIL = 'spiffe://example.org/ns/evil/sa/root'

/** Target and header lines → status and reason. */
async function check(table: readonly (readonly [string, readonly string[], number, string | undefined])[]): Promise<void> {
  for (const [target, lines, status, reason] of table) {
    const seen = await probe.send(get(target, ...lines))
    assert.deepEqual([seen.status, seen.reason], [status, reason], `${target} ${JSON.stringify(lines)}`)
    if (status !== 200) assert.equal(seen.app, '', `${target} ${JSON.stringify(lines)}`)
  }
}

test('10 · policy that sees only one value of a repeated header', async () => {
  await check([
    ['/open', ['x-role: guest', 'x-role: admin'], 403, 'ERR_POLICY_DENIED'],
    ['/open', ['x-role: admin', 'x-role: guest'], 403, 'ERR_POLICY_DENIED'],
    ['/open', ['x-role: a', 'x-role: guest', 'X-Role: b'], 403, 'ERR_POLICY_DENIED'],
    ['/open', ['x-role: admin', 'x-role: owner'], 200, undefined],
    ['/needs', ['x-env: test', 'x-env: prod'], 200, undefined],
    ['/needs', ['x-env: test', 'x-env: dev', 'x-env: stage'], 403, 'ERR_POLICY_NO_ALLOW'],
    ['/never', ['x-env: prod', 'x-env: test'], 403, 'ERR_POLICY_NO_ALLOW'],
    ['/never', ['x-env: test', 'x-env: prod'], 403, 'ERR_POLICY_NO_ALLOW'],
    ['/never', ['x-env: prod', 'x-env: dev'], 200, undefined],
  ])
  for (const name of ['host', 'content-type', 'authorization', 'content-length', 'user-agent', 'origin', 'Range', 'Expect']) {
    const seen = await probe.send(get('/open', `${name}: a`, `${name}: b`))
    assert.deepEqual([seen.status, seen.reason, seen.app], [400, 'ERR_HTTP_HEADER_REPEATED', ''], `${name} has one value`)
  }
})

test('11 · white space and case around headers', () =>
  check([
    ['/open', ['X-ROLE:guest'], 403, 'ERR_POLICY_DENIED'],
    ['/open', ['x-role: \t guest \t '], 403, 'ERR_POLICY_DENIED'],
    ['/open', ['x-Role:   guest'], 403, 'ERR_POLICY_DENIED'],
    ['/open', ['x-role: Guest'], 200, undefined],
    ['/needs', ['X-Env:prod\t'], 200, undefined],
    ['/open', ['x-role : guest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', ['x-role\t: guest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', [' x-role: guest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', ['a: b', ' x-role: guest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', ['a: b', '\tguest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', ['a: b\rx-role: guest'], 400, 'ERR_HTTP_LINE_END'],
    ['/open', ['a: b\nx-role: guest'], 400, 'ERR_HTTP_LINE_END'],
    ['/open', ['a: b\0'], 400, 'ERR_HTTP_HEADER_VALUE'],
    ['/open', ['a: b\x0bc'], 400, 'ERR_HTTP_HEADER_VALUE'],
    ['/open', ['x\x00role: guest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', [': guest'], 400, 'ERR_HTTP_HEADER_NAME'],
    ['/open', ['x-role'], 400, 'ERR_HTTP_LINE_END'],
    ['HTTPS://h/open', ['x-role: guest'], 403, 'ERR_POLICY_DENIED'],
  ]))

test('12 · underscores and aliases of identity headers', async () => {
  const names = [
    'x_postern_principal',
    'X_Postern-Principal',
    'x.postern.principal',
    'xposternprincipal',
    'x-postern_principal',
    'x__postern__principal',
    '_x-postern-principal',
    'x-postern-principal_',
    'x_forwarded_client_cert',
    'X_Forwarded_For',
    'x.forwarded.for',
    'x_request_id',
    'FORWARDED_',
    'x|postern|principal',
    'x~postern~anything',
  ]
  for (const name of names) {
    const seen = await probe.send(get('/open', `${name}: ${EVIL}`))
    assert.equal(seen.status, 200, name)
    assert.doesNotMatch(seen.app, /evil/, name)
    assert.match(seen.app, /\r\nx-postern-principal: spiffe:\/\/example\.org\/ns\/test\/sa\/caller\r\n/, name)
  }
  for (const name of ['content_length', 'Content.Length', 'transfer_encoding', 'Transfer--Encoding', 'TRANSFER-ENCODING_']) {
    const seen = await probe.send(get('/open', `${name}: 5`))
    assert.deepEqual([seen.status, seen.reason, seen.app], [400, 'ERR_HTTP_HEADER_NAME', ''], name)
  }
  assert.match((await probe.send(get('/open', 'my_header: 1'))).app, /\r\nmy_header: 1\r\n/, 'other names with `_` are the app’s own')
})

/** What the app may read as an identity, in 32 spellings. */
const IDENTITY_HEADERS = ['x-forwarded-client-cert', 'x-postern-principal', 'x-postern-token-principal', 'x-postern-assertion'].flatMap(
  (name) => [
    name,
    name.toUpperCase(),
    name.replaceAll('-', '_'),
    name.replaceAll('-', '.'),
    name.replaceAll('-', ''),
    name.replace('-', '--'),
    `${name}-`,
    name.replaceAll('-', "'"),
  ],
)

test('13 · forged XFCC and identity headers, in heads and in trailers', async () => {
  for (const name of IDENTITY_HEADERS) {
    const value = `By=${EVIL};Hash=00;URI=${EVIL}`
    const seen = await probe.send(
      `POST /open HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: ${name}\r\n${name}: ${value}\r\n${name}: ${value}\r\n\r\n1\r\na\r\n0\r\n${name}: ${value}\r\n\r\n`,
    )
    assert.equal(seen.status, 200, name)
    assert.equal(seen.requests.length, 1, name)
    assert.doesNotMatch(seen.app, /evil/, name)
    const ours = seen.app.match(/x-forwarded-client-cert: [^\r]*/g)
    assert.equal(ours?.length, 1, name)
    assert.match(
      ours?.[0] ?? '',
      /: By=spiffe:\/\/example\.org\/ns\/test\/sa\/service;Hash=[0-9a-f]{64};URI=spiffe:\/\/example\.org\/ns\/test\/sa\/caller$/,
    )
  }
})

test('14 · internal control headers', async () => {
  const overrides = [
    'x-original-url',
    'x-original-uri',
    'x-rewrite-url',
    'x-original-method',
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
    'x-envoy-original-path',
    'x-forwarded-uri',
    'x-forwarded-path',
    'x-forwarded-prefix',
    'X_Original_Url',
    'x-forwarded-scheme',
    'x-forwarded-port',
    'x-forwarded-server',
  ]
  for (const name of overrides) {
    const seen = await probe.send(get('/open', `${name}: /evil`))
    assert.equal(seen.requests.length, 1, name)
    assert.doesNotMatch(seen.app, /evil/, name)
  }
  const token = fc.string({ unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789-_.'.split('')), minLength: 1, maxLength: 24 })
  const name = fc.oneof(
    token,
    fc
      .constantFrom('x-envoy-', 'x-postern-', 'x-internal-', 'x-forwarded-', 'x-b3-', 'l5d-')
      .chain((prefix) => token.map((rest) => prefix + rest)),
  )
  await fc.assert(
    fc.asyncProperty(name, fc.constantFrom('/open', 'true', '127.0.0.1', EVIL, '*'), async (header, value) => {
      fc.pre(
        !/^(?:host|expect|upgrade|content-length|transfer-encoding|connection|te)$/.test(header) &&
          !/content.*length|transfer.*encoding/.test(header),
      )
      const seen = await probe.send(get('/closed', `${header}: ${value}`))
      assert.deepEqual([seen.status, seen.reason, seen.app], [403, 'ERR_POLICY_NO_ALLOW', ''], `${header}: ${value}`)
    }),
    { numRuns: 40 },
  )
})

test('15 · `Connection` that names headers of the proxy', async () => {
  for (const name of ['x-postern-principal', 'x-forwarded-client-cert', 'x-request-id', 'traceparent', 'x-forwarded-for', 'forwarded']) {
    const seen = await probe.send(get('/open', `connection: ${name}, ${name.toUpperCase()}`))
    assert.ok(seen.app.toLowerCase().includes(`\r\n${name}: `), `${name} is ours and stays`)
    assert.match(seen.app, /x-postern-principal: spiffe:\/\/example\.org\/ns\/test\/sa\/caller/)
  }
  await check([
    ['/needs', ['x-env: prod', 'connection: x-env'], 403, 'ERR_POLICY_NO_ALLOW'],
    ['/open', ['connection: host'], 400, 'ERR_HTTP_CONNECTION'],
    ['/open', ['connection: content-length'], 400, 'ERR_HTTP_CONNECTION'],
    ['/open', ['connection: transfer-encoding'], 400, 'ERR_HTTP_CONNECTION'],
    ['/open', ['connection: a b'], 400, 'ERR_HTTP_CONNECTION'],
  ])
  const removed = await probe.send(
    get('/open', 'x-hop: secret', 'keep-alive: 5', 'te: trailers', 'proxy-connection: x', 'connection: x-hop'),
  )
  assert.doesNotMatch(removed.app, /x-hop|keep-alive|\r\nte:|proxy-connection|\r\nconnection:/)
})

test('44 · header names that are properties of objects', async () => {
  const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '__defineGetter__', 'valueOf', 'then']
  const seen = await probe.send(get('/open', ...names.flatMap((name) => [`${name}: 1`, `${name}: 2`])))
  assert.equal(seen.status, 200)
  for (const name of names) assert.ok(seen.app.includes(`\r\n${name.toLowerCase()}: 2\r\n`), name)
  assert.equal((await probe.send(get('/closed?__proto__=x&constructor=y', '__proto__: 1'))).reason, 'ERR_POLICY_NO_ALLOW')
})

test('59 · forged addresses, in X-Forwarded-For', async () => {
  for (const line of [
    'x-forwarded-for: 10.1.1.1',
    'X-Forwarded-For: 10.1.1.1, 10.2.2.2',
    'forwarded: for=10.1.1.1',
    'x-real-ip: 10.1.1.1',
    'true-client-ip: 10.1.1.1',
    'x_forwarded_for: 10.1.1.1',
  ]) {
    const seen = await probe.send(get('/open/near', line))
    assert.deepEqual([seen.status, seen.reason, seen.records[0]?.['source_ip']], [403, 'ERR_POLICY_DENIED', '127.0.0.1'], line)
  }
  const { app } = await probe.send(get('/open', 'x-forwarded-for: 10.1.1.1', 'forwarded: for=10.1.1.1;host=evil'))
  assert.match(app, /\r\nforwarded: for=127\.0\.0\.1;host=h;proto=https\r\nx-forwarded-for: 127\.0\.0\.1\r\n/)
  assert.doesNotMatch(app, /10\.1\.1\.1|evil/)
})

test('60 · grpc-timeout that overflows', async () => {
  for (const value of ['99999999H', '999999999999999999999H', '-1S', '0n', '1e9S', '\u00a0', 'NaN']) {
    const seen = await probe.send(get('/open', 'content-type: application/grpc', `grpc-timeout: ${Buffer.from(value).toString('latin1')}`))
    assert.deepEqual(
      [seen.status, seen.reason],
      [200, undefined],
      'over HTTP/1.1 it is the app’s own business: no deadline is computed from it',
    )
  }
  const table: Readonly<Record<string, number | undefined>> = {
    '99999999H': 359_999_996_400_000,
    '1S': 1000,
    '0n': 0,
    '5m': 5,
    '999999999S': undefined,
    '999999999999999999999H': undefined,
    '-1S': undefined,
    '+1S': undefined,
    '1e9S': undefined,
    '1.5S': undefined,
    '0x1S': undefined,
    '1': undefined,
    S: undefined,
    '1s': undefined,
    '1S ': undefined,
    '': undefined,
  }
  for (const [value, ms] of Object.entries(table)) assert.equal(readGrpcTimeout(value), ms, value)
})

test('61 · text that would end a line of the log, or move a cursor', async () => {
  const hostile = ['\x1b[2J', '\u0085', '\u2028', '","decision":"allow', '{"a":1}', '\u202e', '${jndi:x}']
  for (const text of hostile) {
    const bytes = Buffer.from(text).toString('latin1')
    const encoded = encodeURIComponent(text)
    for (const request of [
      get(`/open/${encoded}`, `user-agent: ${bytes}`, `x-request-id: ${bytes}`),
      `GET${bytes} /open HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n`,
      get(`/open/${bytes}`),
      `GET /open HTTP/1.1\r\nhost: ${bytes}\r\nconnection: close\r\n\r\n`,
    ]) {
      const { records } = await probe.send(request)
      assert.equal(records.length, 1, 'one line, and valid JSON')
      assert.match(JSON.stringify(records[0]), /^[\x20-\x7e]*$/)
      assert.equal(records[0]?.['msg'], 'decision')
      assert.match(String(records[0]?.['request_id']), /^[0-9a-f-]{36}$/, 'an ill-formed request id is not taken over')
    }
  }
  const long = await probe.send(
    get(`/open/${'a'.repeat(20_000)}`, 'user-agent: secret-agent', 'cookie: secret-cookie', 'authorization: Bearer secret'),
  )
  assert.ok(JSON.stringify(long.records[0]).length < 3000, 'fields are cut')
  assert.doesNotMatch(JSON.stringify(long.records[0]), /secret/, 'no header value is recorded')
})

test('70 · bytes that are no UTF-8, and the same text in two encodings', async () => {
  await check([
    ['/utf8', ['x-name: caf\xc3\xa9'], 200, undefined],
    ['/utf8', ['x-name: caf\xe9'], 400, 'ERR_HTTP_HEADER_VALUE'],
    ['/utf8', ['x-name: cafe\xcc\x81'], 403, 'ERR_POLICY_NO_ALLOW'],
    ['/utf8', ['x-name: caf\xc3\x83\xc2\xa9'], 403, 'ERR_POLICY_NO_ALLOW'],
    ['/open', ['x-any: \xff'], 400, 'ERR_HTTP_HEADER_VALUE'],
    ['/open', ['x-any: \xc0\xaf'], 400, 'ERR_HTTP_HEADER_VALUE'],
    ['/open', ['x-any: \xed\xa0\x80'], 400, 'ERR_HTTP_HEADER_VALUE'],
    ['/open/%FF', [], 400, 'ERR_PATH_UTF8'],
    ['/open/%ED%A0%80', [], 400, 'ERR_PATH_UTF8'],
  ])
  const kept = await probe.send(get('/open', 'x-any: caf\xc3\xa9'))
  assert.ok(kept.app.includes('\r\nx-any: caf\xc3\xa9\r\n'), 'byte for byte')
})
