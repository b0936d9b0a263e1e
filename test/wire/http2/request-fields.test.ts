import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Refusal } from '#base/result'
import { RequestFields, type Http2Request } from '#wire/http2/request-fields'
import { createTestDecoder, type Fields, literals } from '../../support/http2-frames.ts'

const pseudo: Fields = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'cart.shop'],
  [':path', '/a?b=c?d'],
]

function read(fields: Fields, { endStream = true, mostHeaders = 100, form = 0 } = {}): Http2Request | Refusal {
  const request = new RequestFields(mostHeaders)
  const block = literals(fields, { form })
  request.begin()
  assert.equal(createTestDecoder().decode(block, 0, block.length, request), 'complete')
  return request.finish(endStream)
}

function without(name: string): Fields {
  return pseudo.filter(([other]) => other !== name)
}

function withPseudo(name: string, value: string): Fields {
  return pseudo.map(([other, before]) => [other, other === name ? value : before] as const)
}

function accepted(fields: Fields, options?: Parameters<typeof read>[1]): Http2Request {
  const request = read(fields, options)
  if (!request.ok) assert.fail(`${request.reason} ${request.detail}`)
  return request
}

test('a request is what its pseudo-headers and fields say', () => {
  const request = accepted([...pseudo, ['accept', '*/*'], ['x-a', '1'], ['x-a', '2']])
  assert.deepEqual(request, {
    ok: true,
    method: 'GET',
    scheme: 'https',
    authority: 'cart.shop',
    target: '/a?b=c?d',
    path: '/a',
    query: 'b=c?d',
    headers: { names: ['accept', 'x-a', 'x-a'], values: ['*/*', '1', '2'] },
    contentLength: -1,
    teTrailers: false,
    grpc: false,
    sensitive: undefined,
  })
})

test('one reader reads one head after the other', () => {
  const fields = new RequestFields(100)
  const decoder = createTestDecoder()
  const bad = literals([...pseudo, ['connection', 'close']])
  const good = literals([...pseudo, ['host', 'cart.shop']])
  for (const [block, ok] of [
    [good, true],
    [bad, false],
    [good, true],
  ] as const) {
    fields.begin()
    decoder.decode(block, 0, block.length, fields)
    const request = fields.finish(true)
    assert.equal(request.ok, ok)
    if (request.ok) assert.deepEqual(request.headers, { names: [], values: [] })
  }
})

test('host stands in for :authority, and beside it says the same', () => {
  assert.equal(accepted([...without(':authority'), ['host', 'cart.shop:8080']]).authority, 'cart.shop:8080')
  const both = accepted([...pseudo, ['host', 'CART.shop']])
  assert.equal(both.authority, 'cart.shop')
  assert.deepEqual(both.headers.names, [])
})

test('crumbs of a cookie are one value again, where the first stood', () => {
  const { headers } = accepted([...pseudo, ['cookie', 'a=1'], ['accept', '*/*'], ['cookie', 'b=2'], ['cookie', 'c=3']])
  assert.deepEqual(headers, { names: ['cookie', 'accept'], values: ['a=1; b=2; c=3', '*/*'] })
})

test('te: trailers is noted, and no header', () => {
  const request = accepted([...pseudo, ['te', 'trailers']])
  assert.equal(request.teTrailers, true)
  assert.deepEqual(request.headers.names, [])
})

test('gRPC is known by its content type, without regard to case', () => {
  for (const [type, grpc] of [
    ['application/grpc', true],
    ['application/grpc+proto', true],
    ['application/grpc; charset=utf-8', true],
    ['Application/gRPC', true],
    ['application/grpc-web', false],
    ['application/grpcx', false],
    ['application/json', false],
  ] as const) {
    assert.equal(accepted([...pseudo, ['content-type', type]]).grpc, grpc, type)
  }
})

test('names of fields that came as never indexed are kept', () => {
  assert.deepEqual(accepted([...pseudo, ['x-secret', 'a']], { form: 0x10 }).sensitive, new Set(['x-secret']))
})

test('an asterisk is for OPTIONS', () => {
  const { path, query } = accepted([
    [':method', 'OPTIONS'],
    ...without(':method').map(([name, value]) => [name, name === ':path' ? '*' : value] as const),
  ])
  assert.deepEqual([path, query], ['*', undefined])
})

test('a length without a body is read where it is 0, or a body is to come', () => {
  assert.equal(accepted([...pseudo, ['content-length', '0']]).contentLength, 0)
  assert.equal(accepted([...pseudo, ['content-length', '17']], { endStream: false }).contentLength, 17)
})

const refused: readonly (readonly [string, Fields, string])[] = [
  ['no :method', without(':method'), 'ERR_HTTP2_PSEUDO_HEADER'],
  ['no :scheme', without(':scheme'), 'ERR_HTTP2_PSEUDO_HEADER'],
  ['no :path', without(':path'), 'ERR_HTTP2_PSEUDO_HEADER'],
  ['neither :authority nor host', without(':authority'), 'ERR_HTTP_HOST'],
  ['nothing at all', [], 'ERR_HTTP2_PSEUDO_HEADER'],
  ...[':method', ':scheme', ':authority', ':path'].map(
    (name) => [`${name} twice`, [...pseudo, [name, '/']], 'ERR_HTTP2_PSEUDO_HEADER'] as const,
  ),
  ['a pseudo-header after a field', [...without(':path'), ['accept', '*/*'], [':path', '/']], 'ERR_HTTP2_PSEUDO_HEADER'],
  ['an unknown pseudo-header', [...pseudo, [':unknown', 'a']], 'ERR_HTTP2_PSEUDO_HEADER'],
  ['a pseudo-header without a name', [...pseudo, [':', 'a']], 'ERR_HTTP2_PSEUDO_HEADER'],
  ['a pseudo-header of responses', [...pseudo, [':status', '200']], 'ERR_HTTP2_PSEUDO_HEADER'],
  ['a pseudo-header in upper case', [...pseudo, [':Path', '/']], 'ERR_HTTP2_PSEUDO_HEADER'],
  ['another scheme', withPseudo(':scheme', 'ftp'), 'ERR_HTTP2_PSEUDO_HEADER'],
  ['a scheme in upper case', withPseudo(':scheme', 'HTTPS'), 'ERR_HTTP2_PSEUDO_HEADER'],
  ['CONNECT', withPseudo(':method', 'CONNECT'), 'ERR_HTTP_METHOD'],
  ['extended CONNECT', [...withPseudo(':method', 'CONNECT'), [':protocol', 'websocket']], 'ERR_HTTP_METHOD'],
  [':protocol with another method', [...pseudo, [':protocol', 'websocket']], 'ERR_HTTP2_PSEUDO_HEADER'],
  ['an empty method', withPseudo(':method', ''), 'ERR_HTTP_METHOD'],
  ['a method with a space', withPseudo(':method', 'GET /'), 'ERR_HTTP_METHOD'],
  ['an empty path', withPseudo(':path', ''), 'ERR_HTTP_TARGET'],
  ['a path without its slash', withPseudo(':path', 'a/b'), 'ERR_HTTP_TARGET'],
  ['a path in absolute form', withPseudo(':path', 'http://cart.shop/'), 'ERR_HTTP_TARGET'],
  ['an asterisk for GET', withPseudo(':path', '*'), 'ERR_HTTP_TARGET'],
  ['a fragment', withPseudo(':path', '/a#b'), 'ERR_PATH_FRAGMENT'],
  ['a space in the path', withPseudo(':path', '/a b'), 'ERR_HTTP_TARGET'],
  ['bytes beyond ASCII in the path', withPseudo(':path', '/\u00c3\u00a4'), 'ERR_HTTP_TARGET'],
  ['a line end in the path', withPseudo(':path', '/\r\nx: y'), 'ERR_HTTP_HEADER_VALUE'],
  ['userinfo in :authority', withPseudo(':authority', 'a@b'), 'ERR_HTTP_HOST'],
  ['an empty :authority', withPseudo(':authority', ''), 'ERR_HTTP_HOST'],
  ['host that differs', [...pseudo, ['host', 'orders.shop']], 'ERR_HTTP_HOST'],
  ['host twice', [...pseudo, ['host', 'cart.shop'], ['host', 'cart.shop']], 'ERR_HTTP_HEADER_REPEATED'],
  ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].map(
    (name) => [name, [...pseudo, [name, 'close']], 'ERR_HTTP2_CONNECTION_HEADER'] as const,
  ),
  ['te of another value', [...pseudo, ['te', 'trailers, deflate']], 'ERR_HTTP2_CONNECTION_HEADER'],
  ['a name in upper case', [...pseudo, ['X-Name', 'a']], 'ERR_HTTP_HEADER_NAME'],
  ['an empty name', [...pseudo, ['', 'a']], 'ERR_HTTP_HEADER_NAME'],
  ['a name with a space', [...pseudo, ['x name', 'a']], 'ERR_HTTP_HEADER_NAME'],
  ['a name with a colon', [...pseudo, ['x:name', 'a']], 'ERR_HTTP_HEADER_NAME'],
  ['a name with a line end', [...pseudo, ['x\r\nname', 'a']], 'ERR_HTTP_HEADER_NAME'],
  ['a value with CR LF', [...pseudo, ['x-a', 'b\r\nx-postern-principal: root']], 'ERR_HTTP_HEADER_VALUE'],
  ['a value with NUL', [...pseudo, ['x-a', 'b\0']], 'ERR_HTTP_HEADER_VALUE'],
  ['a value with outer space', [...pseudo, ['x-a', ' b']], 'ERR_HTTP_HEADER_VALUE'],
  ...['content-type', 'authorization', 'content-length', 'user-agent', 'origin', 'range'].map(
    (name) => [`${name} twice`, [...pseudo, [name, '1'], [name, '1']], 'ERR_HTTP_HEADER_REPEATED'] as const,
  ),
  ...['', '-1', '+1', '1,1', '0x10', '1 ', '99999999999999999999'].map(
    (value) =>
      [
        `content-length ${JSON.stringify(value)}`,
        [...pseudo, ['content-length', value]],
        value === '1 ' ? 'ERR_HTTP_HEADER_VALUE' : 'ERR_HTTP_CONTENT_LENGTH',
      ] as const,
  ),
  ['a length and no body', [...pseudo, ['content-length', '1']], 'ERR_HTTP2_CONTENT_LENGTH'],
]
for (const [what, fields, reason] of refused) {
  test(`${what} is refused`, () => {
    const request = read(fields)
    assert.equal(request.ok ? 'accepted' : request.reason, reason)
  })
}

test('more fields than the limit are refused, pseudo-headers not counted', () => {
  const fields: Fields = [...pseudo, ['x-a', '1'], ['x-b', '2'], ['x-c', '3']]
  accepted(fields, { mostHeaders: 3 })
  const request = read(fields, { mostHeaders: 2 })
  assert.equal(request.ok ? '' : request.reason, 'ERR_HTTP_TOO_MANY_HEADERS')
})

test('details of refusals hold nothing of a value that was sent', () => {
  for (const [, fields] of refused) {
    const request = read([...fields, ['x-canary', 'canary\x7f']])
    if (!request.ok) assert.doesNotMatch(request.detail, /canary\x7f|principal/)
  }
})
