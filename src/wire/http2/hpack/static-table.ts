/** The static table of HPACK (RFC 7541 Appendix A). */
import { Buffer } from 'node:buffer'
import { type Field, makeField, readFieldName } from './field.ts'

const TABLE = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`

/** Index 0 is a hole: HPACK counts from 1. */
export const STATIC_TABLE: readonly (Field | undefined)[] = [undefined, ...TABLE.split('\n').map(toField)]

/** 61. */
export const STATIC_COUNT = STATIC_TABLE.length - 1

/** The lowest index of each name. */
export const STATIC_NAMES: ReadonlyMap<string, number> = new Map(
  STATIC_TABLE.map((field, index) => [field?.name ?? '', index] as const)
    .slice(1)
    .toReversed(),
)

function toField(line: string): Field {
  const [name = ''] = line.split(' ', 1)
  const bytes = Buffer.from(name, 'latin1')
  return makeField(readFieldName(bytes, 0, bytes.length), line.slice(name.length + 1))
}
