import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { createRecordText } from '#audit/record-text'
import { createTimeText } from '#audit/time-text'
import { allowed, exchange, handshake, origin, refusal, requestFacts, TIME, token } from '../support/events.ts'

const text = createRecordText({ digestOf: (generation) => (generation === 7 ? 'ab12cd34ef56' : '') })
const parse = (line: string): Record<string, unknown> => JSON.parse(line) as Record<string, unknown>

test('an allowed request is one line with the documented fields and nothing else', () => {
  const line = text.exchange(exchange({ token }))
  assert.match(line, /^[^\n]+\n$/)
  assert.deepEqual(parse(line), {
    time: '2026-11-24T18:41:07.123Z',
    level: 'info',
    msg: 'decision',
    request_id: '01890a5d-ac96-774b-bcce-b302099a8057',
    listener: '0.0.0.0:7443',
    direction: 'inbound',
    protocol: 'http1',
    source_ip: '10.1.2.3',
    peer: { id: 'spiffe://example.org/ns/shop/sa/cart', serial: '1f2e3d4c5b6a79880123456789abcdef', not_after: '2026-11-25T02:00:00.000Z' },
    token: { issuer: token.issuer, subject: token.subject },
    method: 'GET',
    host: 'catalog.shop',
    path: '/catalog/items/4711',
    decision: 'allow',
    policy: 'shop/catalog-readers',
    rule: 'cart-reads',
    policy_generation: 7,
    policy_digest: 'ab12cd34ef56',
    status: 200,
    bytes_in: 0,
    bytes_out: 1024,
    duration_us: 1235,
    decide_us: 1,
    tls: { version: 'TLSv1.3', group: 'X25519MLKEM768' },
    trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
  })
})

test('a refusal has its reason, its detail and the verdict of shadow policies', () => {
  const shadow = { allow: true, reason: undefined, policy: 'shop/next', rule: 'r' }
  const event = refusal({ detail: 'rule #2', grpcStatus: 7, decision: { ...allowed, allow: false, reason: 'ERR_POLICY_DENIED', shadow } })
  const record = parse(text.exchange(event))
  assert.equal(record['level'], 'warn')
  assert.equal(record['decision'], 'deny')
  assert.equal(record['reason'], 'ERR_POLICY_DENIED')
  assert.equal(record['detail'], 'rule #2')
  assert.equal(record['grpc_status'], 7)
  assert.deepEqual(record['shadow'], { decision: 'allow', policy: 'shop/next', rule: 'r' })
})

test('a request that policy was never asked about is a denial without a rule', () => {
  const record = parse(
    text.exchange(
      exchange({
        origin: { ...origin, peer: undefined, tls: undefined },
        decision: undefined,
        reason: 'ERR_HTTP_REQUEST_LINE',
        method: '',
        host: '',
        path: '',
        traceId: '',
        facts: undefined,
      }),
    ),
  )
  assert.equal(record['decision'], 'deny')
  for (const absent of ['policy', 'rule', 'policy_generation', 'peer', 'tls', 'token', 'trace_id', 'shadow', 'cut'])
    assert.ok(!(absent in record), absent)
})

test('an allowed request that failed or was cut is a warning with its reason', () => {
  const record = parse(text.exchange(exchange({ reason: 'ERR_UPSTREAM_UNREACHABLE', status: 502 })))
  assert.deepEqual([record['level'], record['decision'], record['reason']], ['warn', 'allow', 'ERR_UPSTREAM_UNREACHABLE'])
})

test('a refused handshake has whatever identity was presented', () => {
  assert.deepEqual(parse(text.handshake(handshake())), {
    time: '2026-11-24T18:41:07.123Z',
    level: 'warn',
    msg: 'handshake',
    handshake_id: '01890a5d-ac96-774b-bcce-b302099a8057',
    listener: '0.0.0.0:7443',
    source_ip: '10.1.2.3',
    peer: { id: 'spiffe://other.example/ns/a/sa/b', serial: '0a', not_after: '2026-11-24T18:41:07.123Z' },
    decision: 'deny',
    reason: 'ERR_TLS_HANDSHAKE',
    detail: 'no certificate',
  })
  assert.ok(!('peer' in parse(text.handshake(handshake({ presented: undefined })))))
})

test('parts that are remembered follow the policy in force', () => {
  const first = parse(text.exchange(exchange()))
  const second = parse(text.exchange(exchange({ decision: { ...allowed, generation: 8 } })))
  const third = parse(text.exchange(exchange({ decision: { ...allowed, generation: 8, allow: false } })))
  assert.deepEqual([first['policy_generation'], first['policy_digest']], [7, 'ab12cd34ef56'])
  assert.deepEqual([second['policy_generation'], second['policy_digest']], [8, undefined])
  assert.deepEqual([second['decision'], third['decision']], ['allow', 'deny'])
})

const NASTY: readonly { readonly what: string; readonly sent: string; readonly shown: string }[] = [
  { what: 'a line break', sent: 'a\r\n{"msg":"decision","decision":"allow"}', shown: 'a\r\n{"msg":"decision","decision":"allow"}' },
  { what: 'quotes and backslashes', sent: '"},{"\\', shown: '"},{"\\' },
  { what: 'a terminal escape', sent: '\u001b[2J\u009b31m', shown: '\u001b[2J\u009b31m' },
  { what: 'UTF-8 bytes', sent: 'caf\u00c3\u00a9', shown: 'caf\u00e9' },
  { what: 'a byte that is no UTF-8', sent: 'caf\u00e9', shown: 'caf\u00e9' },
  { what: 'a direction override in UTF-8', sent: '\u00e2\u0080\u00ae', shown: '\u202e' },
  { what: 'half of a surrogate pair', sent: '\ud800x', shown: '\ufffdx' },
  { what: 'NUL and DEL', sent: '\u0000\u007f', shown: '\u0000\u007f' },
  { what: 'a line separator', sent: '\u2028', shown: '\u2028' },
]

for (const { what, sent, shown } of NASTY) {
  test(`${what} in what the caller sent stays inside its field and leaves the line in printable ASCII`, () => {
    const line = text.exchange(refusal({ method: sent, host: sent, path: sent, detail: sent }))
    assert.match(line, /^[ -~]+\n$/)
    const record = parse(line)
    assert.deepEqual(
      ['method', 'host', 'path', 'detail'].map((field) => record[field]),
      [shown, shown, shown, shown],
    )
    assert.equal(record['decision'], 'deny')
    const presented = { id: sent, serial: sent, notAfter: TIME }
    assert.match(text.handshake(handshake({ detail: sent, presented })), /^[ -~]+\n$/)
  })
}

test('whatever stands in any text of an event, the record is one line of ASCII that parses to that event', () => {
  const anyText = fc.string({ unit: 'binary', maxLength: 40 })
  fc.assert(
    fc.property(anyText, anyText, anyText, anyText, (id, path, subject, rule) => {
      const line = text.exchange(
        exchange({
          requestId: id,
          path,
          token: { ...token, subject },
          decision: { ...allowed, rule },
          origin: { ...origin, listener: id },
        }),
      )
      assert.match(line, /^[ -~]+\n$/)
      const record = parse(line)
      assert.equal(record['request_id'], id.toWellFormed())
      assert.equal(record['listener'], id.toWellFormed())
      assert.deepEqual(record['token'], { issuer: token.issuer, subject: subject.toWellFormed() })
      assert.equal(record['rule'], rule.toWellFormed())
      assert.equal(record['decision'], 'allow')
    }),
  )
})

test('texts of any length give a record of bounded length, which says what was cut', () => {
  const long = 'é'.repeat(70_000)
  const event = refusal({
    requestId: long,
    method: long,
    host: long,
    path: long,
    detail: long,
    traceId: long,
    token: { ...token, issuer: long, subject: long },
  })
  const line = text.exchange(event)
  assert.ok(line.length < 24_000, `${line.length}`)
  const record = parse(line)
  assert.deepEqual(record['cut'], ['request_id', 'method', 'host', 'path', 'detail'])
  assert.equal((record['path'] as string).length, 1024)
  const shaken = text.handshake(handshake({ detail: long, presented: { id: long, serial: long, notAfter: Infinity } }))
  assert.ok(shaken.length < 18_000, `${shaken.length}`)
})

test('no query, no header and no claim is in a record', () => {
  const secret = 'hunter2'
  const facts = requestFacts({ query: `password=${secret}`, headers: { names: ['authorization'], values: [`Bearer ${secret}`] } })
  const line = text.exchange(exchange({ facts, token: { ...token, claims: { secret } } }))
  assert.ok(!line.includes(secret))
})

test('times are those of toISOString, second after second, before 1970 too', () => {
  const timeText = createTimeText()
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -1e13, max: 1e13 }), { minLength: 1, maxLength: 20 }), (times) => {
      for (const time of times) {
        for (const near of [time, time + 1, time + 999]) assert.equal(timeText(near), new Date(near).toISOString())
      }
    }),
  )
  assert.equal(timeText(TIME + 0.75), '2026-11-24T18:41:07.123Z')
})
