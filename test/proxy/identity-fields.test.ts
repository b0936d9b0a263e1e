import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConnectionOrigin } from '#audit/event'
import { headerValue } from '#http/header-list'
import { createIdentityFields } from '#proxy/identity-fields'

const ORIGIN: ConnectionOrigin = {
  listener: '127.0.0.1:7443',
  direction: 'inbound',
  protocol: 'http2',
  peer: undefined,
  sourceIp: '127.0.0.1',
  tls: undefined,
}

test('each request of a connection is told its own host, id and trace, whatever the one before had', () => {
  const fields = createIdentityFields(ORIGIN, 'spiffe://example.org/app', false)
  const lists = [
    { host: 'one.shop', list: fields.list('one.shop', '', 'id-1', 'trace-1') },
    { host: 'one.shop', list: fields.list('one.shop', '', 'id-2', 'trace-2') },
    { host: 'two.shop', list: fields.list('two.shop', '', 'id-3', 'trace-3') },
    { host: 'one.shop', list: fields.list('one.shop', '', 'id-4', 'trace-4') },
  ]
  for (const [index, { host, list }] of lists.entries()) {
    assert.equal(headerValue(list, 'x-forwarded-host'), host)
    assert.equal(headerValue(list, 'forwarded'), `for=127.0.0.1;host=${host};proto=http`)
    assert.equal(headerValue(list, 'x-request-id'), `id-${index + 1}`)
    assert.equal(headerValue(list, 'traceparent'), `trace-${index + 1}`)
    assert.equal(list.names.length, list.values.length)
  }
})
