/** Mutated heads, chunked bodies and paths: nothing throws, every refusal has a known reason, and no split of the bytes changes what is read. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { REASONS } from '#base/reasons'
import { canonicalPath, type PathOptIn } from '#http/canonical-path'
import { httpStatusOf } from '#http/refusal-status'
import { findHeadEnd } from '#wire/http1/head-end'
import { CHUNKED, UNTIL_CLOSE } from '#wire/http1/limits'
import { readRequestHead } from '#wire/http1/request-reader'
import { readResponseHead } from '#wire/http1/response-reader'
import { readBody } from '../support/body-recorder.ts'
import { TEST_LIMITS } from '../support/http1-bytes.ts'
import { readMessages } from '../support/message-reader.ts'

const LLHTTP = join(import.meta.dirname, '..', '..', '..', 'shared', 'conformance', 'http1-llhttp')

const SEEDS = [
  'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
  'POST /a/b;c=d/%2e%2E//%25ff?x=y#z HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 5\r\nConnection: close, X-A\r\n\r\nhello',
  'PUT http://a/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;a="b\\"c"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n',
  'OPTIONS * HTTP/1.0\r\n\r\n',
  '\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nX: \xc3\xa9\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a\r\n\r\nhello',
  'HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n',
]

/** What mutations insert. */
const TOKENS = [
  [
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\n\n',
    ' ',
    '\t',
    '\0',
    '\x0b',
    '\x7f',
    '\x80',
    '\xff',
    ':',
    ';',
    ',',
    '=',
    '"',
    '\\',
    '/',
    '..',
    '#',
    '?',
    '*',
  ],
  ['0', '1', 'f', 'FFFFFFFFFFFFFF', '9007199254740993', '-1', '+1', 'chunked', 'Content-Length: 3\r\n', 'Transfer-Encoding: chunked\r\n'],
  [
    'Host: b\r\n',
    'Connection: host\r\n',
    'Content_Length: 1\r\n',
    'HTTP/1.1',
    'HTTP/2.0',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '%00',
    '%2f',
    '%c0%af',
    '%25',
  ],
].flat()

const OPT_INS: PathOptIn[] = ['encoded-slash', 'double-slash', 'params', 'double-encoding']

/** [0, limit), integers. */
type Below = (limit: number) => number

function seeded(seed: number): Below {
  let state = seed | 0
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}

function corpus(): Buffer[] {
  const seeds = SEEDS.map((text) => Buffer.from(text, 'latin1'))
  if (!existsSync(LLHTTP)) return seeds
  for (const name of readdirSync(LLHTTP, { recursive: true, encoding: 'utf8' }).toSorted()) {
    if (!name.endsWith('.md')) continue
    for (const [, source = ''] of readFileSync(join(LLHTTP, name), 'utf8').matchAll(/```http\n([\s\S]*?)```/g)) {
      seeds.push(Buffer.from(source.replace(/\n/g, '\r\n')))
    }
  }
  return seeds
}

function mutate(bytes: Buffer, below: Below, seeds: readonly Buffer[]): Buffer {
  let result = bytes
  for (let edits = 1 + below(4); edits > 0; edits--) {
    const at = below(result.length + 1)
    const kind = below(6)
    const other = seeds[below(seeds.length)] ?? bytes
    const added =
      kind < 3
        ? Buffer.from(TOKENS[below(TOKENS.length)] ?? '', 'latin1')
        : kind === 3
          ? other.subarray(below(other.length + 1))
          : Buffer.of(below(256))
    const removed = below(4) === 0 ? below(20) : kind === 5 ? 1 : 0
    result = Buffer.concat([result.subarray(0, at), added, result.subarray(at + removed)])
  }
  return result.subarray(0, 4096)
}

function pieces(bytes: Buffer, below: Below): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + below(below(2) === 0 ? 4 : 200))
    parts.push(bytes.subarray(at, end))
    at = end
  }
  return parts
}

function assertKnown(reason: string | undefined): void {
  if (reason === undefined) return
  assert.ok(reason in REASONS, reason)
  assert.ok(httpStatusOf(reason as keyof typeof REASONS) !== undefined, reason)
}

function checkHeads(bytes: Buffer, below: Below): void {
  const from = below(4) === 0 ? below(bytes.length + 1) : 0
  const end = findHeadEnd(bytes, from)
  assert.ok(end === -1 || (end > from && end <= bytes.length), `head end ${end}`)
  for (const boundary of [end, below(bytes.length + 1)]) {
    if (boundary < from) continue
    const request = readRequestHead(bytes, from, boundary, TEST_LIMITS)
    const response = readResponseHead(bytes, from, boundary, TEST_LIMITS, below(2) === 0 ? 'GET' : 'HEAD')
    for (const head of [request, response]) {
      if (!head.ok) {
        assertKnown(head.reason)
        continue
      }
      const { names, values } = head.headers
      assert.equal(names.length, values.length)
      for (const name of names) assert.match(name, /^[a-z0-9!#$%&'*+.^_`|~-]+$/)
      for (const value of values) assert.doesNotMatch(value, /[\0-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$/)
      const framing = names.filter((name) => name === 'content-length' || name === 'transfer-encoding').length
      assert.ok(framing <= 1 && Number.isSafeInteger(head.bodyLength) && head.bodyLength >= UNTIL_CLOSE)
    }
    if (request.ok) {
      const rules = { allow: new Set(OPT_INS.filter(() => below(2) === 0)), ignoreCase: false }
      const path = canonicalPath(request.path, rules)
      if (typeof path === 'string') assert.equal(canonicalPath(path, rules), path)
      else assertKnown(path.reason)
    }
  }
}

function checkStreams(bytes: Buffer, below: Below): void {
  for (const kind of ['request', 'response'] as const) {
    const { rest: whole, ...expected } = readMessages(kind, [bytes])
    const { rest: inPieces, ...seen } = readMessages(kind, pieces(bytes, below))
    assertKnown(expected.fault)
    assert.deepEqual(seen, expected)
    if (expected.fault === undefined) assert.equal(inPieces, whole)
  }
  const limits = { bytes: 200, headers: 4 }
  const length = [CHUNKED, CHUNKED, CHUNKED, below(100), UNTIL_CLOSE][below(5)] ?? 0
  const bodies = [[bytes], pieces(bytes, below)].map((parts) => readBody(length, parts, { limits, fin: true }))
  const [one, other] = bodies
  assert.ok(one !== undefined && other !== undefined)
  assertKnown(one.fault)
  assert.ok(one.consumed <= bytes.length && one.data.length <= one.consumed && one.ends === (one.done && length !== 0 ? 1 : 0))
  assert.deepEqual({ ...other, consumed: 0 }, { ...one, consumed: 0 })
  if (one.fault === undefined) assert.equal(other.consumed, one.consumed)
}

/** @throws with the failing input, as a JSON string of latin1 characters, in its message */
export function fuzz(seconds: number, seed: number): Promise<{ runs: number }> {
  const below = seeded(seed)
  const seeds = corpus()
  const deadline = Date.now() + seconds * 1000
  let runs = 0
  while (Date.now() < deadline) {
    for (let batch = 0; batch < 100; batch++, runs++) {
      const bytes = mutate(seeds[below(seeds.length)] ?? Buffer.alloc(0), below, seeds)
      try {
        checkHeads(bytes, below)
        checkStreams(bytes, below)
      } catch (cause) {
        throw new Error(`run ${runs} of seed ${seed}: ${JSON.stringify(bytes.toString('latin1'))}: ${String(cause)}`, { cause })
      }
    }
  }
  return Promise.resolve({ runs })
}
