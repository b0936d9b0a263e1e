/** Time to find and read typical heads. Run alone: `node bench/micro/http1-head.ts`. */
import { randomFillSync } from 'node:crypto'
import { canonicalPath } from '#http/canonical-path'
import { isValidAuthority, normaliseHost } from '#http/authority'
import { createRandomHex } from '#http/random-hex'
import { createRequestId } from '#http/request-id'
import { beginTraceparent, readTraceparent } from '#http/traceparent'
import { findHeadEnd } from '#wire/http1/head-end'
import { readRequestHead } from '#wire/http1/request-reader'
import { readResponseHead } from '#wire/http1/response-reader'

const LIMITS = { bytes: 65_536, headers: 100 }
const request = Buffer.from(
  [
    'GET /catalog/items/4711?fields=name,price&limit=20 HTTP/1.1',
    'Host: catalog.shop.svc.cluster.local:8080',
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36',
    'Accept: application/json, text/plain;q=0.9, */*;q=0.1',
    'Accept-Encoding: gzip, deflate, br, zstd',
    'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
    'Content-Type: application/json',
    'X-Request-Id: 01890a5d-ac96-774b-bcce-b302099a8057',
    'Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    'Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl',
    'Connection: keep-alive',
    '',
    '',
  ].join('\r\n'),
)
const response = Buffer.from(
  [
    'HTTP/1.1 200 OK',
    'Content-Type: application/json; charset=utf-8',
    'Content-Length: 1024',
    'ETag: W/"400-abcdefghijklmnop"',
    'Date: Tue, 24 Nov 2026 10:00:00 GMT',
    'Cache-Control: private, max-age=0',
    'Connection: keep-alive',
    'Keep-Alive: timeout=5',
    '',
    '',
  ].join('\r\n'),
)
const rules = { allow: new Set<never>(), ignoreCase: false }
const random = createRandomHex(randomFillSync)
const now = Date.now()
let kept: unknown

const cases: Record<string, () => unknown> = {
  'findHeadEnd, request': () => findHeadEnd(request, 0),
  'readRequestHead, 10 headers': () => readRequestHead(request, 0, request.length, LIMITS),
  'readResponseHead, 7 headers': () => readResponseHead(response, 0, response.length, LIMITS, 'GET'),
  'canonicalPath, canonical': () => canonicalPath('/catalog/items/4711/reviews', rules),
  'canonicalPath, with escapes': () => canonicalPath('/catalog/items/caf%C3%a9/%7Euser', rules),
  isValidAuthority: () => isValidAuthority('catalog.shop.svc.cluster.local:8080'),
  'normaliseHost, as it is': () => normaliseHost('catalog.shop.svc.cluster.local'),
  createRequestId: () => createRequestId(now, random),
  beginTraceparent: () => beginTraceparent(random),
  readTraceparent: () => readTraceparent('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'),
}
const ROUNDS = 5_000
console.log(`request head ${request.length} bytes, response head ${response.length} bytes`)
for (const [name, run] of Object.entries(cases)) {
  let best = Infinity
  for (let attempt = 0; attempt < 200; attempt++) {
    const start = process.hrtime.bigint()
    for (let round = 0; round < ROUNDS; round++) kept = run()
    best = Math.min(best, Number(process.hrtime.bigint() - start) / ROUNDS)
  }
  console.log(`${best.toFixed(0).padStart(6)} ns  ${name}`)
}
if (kept === undefined) console.log('nothing was read')
