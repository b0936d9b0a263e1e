/** Every reason of the HTTP family has a status, and every status a phrase. */
import assert from 'node:assert/strict'
import { STATUS_CODES } from 'node:http'
import { test } from 'node:test'
import type { ReasonCode } from '#base/reasons'
import { httpReasons } from '#base/reasons/http'
import { reasonPhrase } from '#http/reason-phrases'
import { httpStatusOf } from '#http/refusal-status'

test('every reason of the HTTP family has a status with a phrase', () => {
  for (const reason of Object.keys(httpReasons) as ReasonCode[]) {
    const status = httpStatusOf(reason)
    assert.ok(status !== undefined && status >= 400 && status <= 599, reason)
    assert.notEqual(reasonPhrase(status), '')
  }
  assert.equal(httpStatusOf('ERR_HTTP_TARGET_TOO_LONG'), 414)
  assert.equal(httpStatusOf('ERR_HTTP_HEAD_TOO_LARGE'), 431)
  assert.equal(httpStatusOf('ERR_HTTP_TOO_MANY_HEADERS'), 431)
  assert.equal(httpStatusOf('ERR_HTTP_EXPECT'), 417)
  assert.equal(httpStatusOf('ERR_POLICY_DENIED'), undefined)
})

test('phrases are those Node knows, but for names that RFC 9110 changed', () => {
  const renamed = new Set([413, 418, 422, 509, 510])
  for (const [code, phrase] of Object.entries(STATUS_CODES)) {
    if (!renamed.has(Number(code))) assert.equal(reasonPhrase(Number(code)), phrase, code)
  }
  assert.equal(reasonPhrase(413), 'Content Too Large')
  assert.equal(reasonPhrase(299), '')
})
