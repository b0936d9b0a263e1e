/** The HTTP/1.1 codec against Node's own parser, against itself in pieces, and against what it wrote. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, METHODS as NODE_METHODS } from 'node:http'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { after, test } from 'node:test'
import * as fc from 'fast-check'
import { type ReadMessage, readMessages } from '../support/message-reader.ts'

const TOKEN = "!#$%&'*+-.^_`|~09azAZ"
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND', 'REPORT']
const OWN_NAMES = ['X-One', 'x-two', 'X_Three', 'Accept', 'Cookie', 'ETag', '__proto__', 'Content-Type', 'User-Agent', "!#$%&'*+.^`|~9"]

const text = (alphabet: string, maxLength: number, minLength = 0) =>
  fc.array(fc.constantFrom(...alphabet.split('')), { minLength, maxLength }).map((characters) => characters.join(''))
const values = fc.oneof(
  text('ab \t,;="\\/()[]{}?@:', 12),
  text('\xc3\xa9', 1).map((half) => (half === '' ? 'x' : '\xc3\xa9')),
  fc.constant(''),
)
const blanks = fc.constantFrom('', ' ', '\t', ' \t ')
const lines = fc
  .uniqueArray(
    fc.tuple(
      fc.oneof(
        fc.constantFrom(...OWN_NAMES),
        text(TOKEN, 8, 1).map((name) => `x-${name}`),
      ),
      values,
      blanks,
      blanks,
    ),
    {
      maxLength: 8,
      selector: ([name]) => name.toLowerCase(),
    },
  )
  .map((fields) => fields.map(([name, value, before, behind]) => `${name}:${before}${value}${behind}\r\n`).join(''))
const targets = fc.oneof(
  text('/ab.%7E-_~:@!$&()*+,;=?|[]{}"<>^`\\', 20).map((rest) => `/${rest}`),
  fc.constantFrom('*', 'http://host.example', 'HTTP://host.example/a?b', 'https://host.example:80/'),
)
const chunk = fc
  .tuple(text('0a\r\n;', 20, 1), fc.constantFrom('', ';a', ';a=b', ';a="b; \\" c"', ';a;b'), fc.boolean())
  .map(([data, extension, upper]) => {
    const size = data.length.toString(16)
    return `${upper ? size.toUpperCase() : `0${size}`}${extension}\r\n${data}\r\n`
  })
const bodies = fc.oneof(
  fc.constant(['', '']),
  text('0a\r\n:', 30).map((data) => [`Content-Length: ${data.length}\r\n`, data]),
  fc
    .tuple(fc.array(chunk, { maxLength: 4 }), fc.constantFrom('', 'X-Sum: 1\r\n', 'x-a:\r\nX-B: c d\r\n'))
    .map(([chunks, trailers]) => ['Transfer-Encoding: chunked\r\n', `${chunks.join('')}0\r\n${trailers}\r\n`]),
)
const requests = fc
  .tuple(
    fc.constantFrom(...METHODS),
    targets,
    lines,
    bodies,
    fc.constantFrom('', '', 'Connection: keep-alive\r\n', 'Connection: close\r\n'),
  )
  .map(([method, target, fields, [framing = '', body = ''], connection]) => {
    const host = /^https?:\/\/([^/]*)/i.exec(target)?.[1] ?? 'host.example'
    return `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}${framing}${connection}\r\n${body}`
  })
const streams = fc.array(requests, { minLength: 1, maxLength: 3 }).map((parts) => Buffer.from(parts.join(''), 'latin1'))

/** One to three edits of the kind that smugglers make. */
const edits = fc.array(
  fc.tuple(
    fc.nat(400),
    fc.nat(3),
    fc.constantFrom(
      '',
      '\r',
      '\n',
      '\r\n',
      ' ',
      '\t',
      '\0',
      ':',
      ',',
      ';',
      '0',
      'f',
      'Host: a\r\n',
      'Content-Length: 3\r\n',
      'Transfer-Encoding: chunked\r\n',
      '\x0b',
      '\x7f',
      '\xff',
    ),
  ),
  { minLength: 1, maxLength: 3 },
)
const mutated = fc.tuple(streams, edits).map(([bytes, changes]) => {
  let result = bytes
  for (const [at, removed, added] of changes) {
    const position = at % (result.length + 1)
    result = Buffer.concat([result.subarray(0, position), Buffer.from(added, 'latin1'), result.subarray(position + removed)])
  }
  return result
})

interface NodeMessage {
  readonly first: string
  readonly second: string
  readonly headers: [string, string][]
  readonly body: string
  readonly trailers: [string, string][]
  complete: boolean
}

let received: NodeMessage[] = []
const server = createServer({ keepAlive: true }, (request, response) => {
  const message: NodeMessage = {
    first: request.method ?? '',
    second: request.url ?? '',
    headers: pairs(request.rawHeaders),
    body: '',
    trailers: [],
    complete: false,
  }
  received.push(message)
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => {
    Object.assign(message, {
      body: Buffer.concat(parts).toString('latin1'),
      trailers: pairs(request.rawTrailers),
      complete: request.complete,
    })
    response.end()
  })
  request.on('error', () => undefined)
})
server.maxHeadersCount = 0
server.on('clientError', (_, socket) => socket.destroy())
server.listen(0, '127.0.0.1')
await once(server, 'listening')
after(() => {
  server.close()
  server.closeAllConnections()
})

function pairs(raw: readonly string[]): [string, string][] {
  const list: [string, string][] = []
  for (let index = 0; index < raw.length; index += 2) list.push([(raw[index] ?? '').toLowerCase(), raw[index + 1] ?? ''])
  return list
}

/** What Node's server reads from these bytes and the end of the connection after them. */
async function readByNode(bytes: Buffer): Promise<NodeMessage[]> {
  received = []
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const closed = once(server, 'connection').then(([peer]) => once(peer as Socket, 'close'))
  socket.on('error', () => undefined)
  socket.resume()
  socket.end(bytes)
  await closed
  socket.destroy()
  return received
}

function comparable(message: ReadMessage): Omit<NodeMessage, 'complete'> {
  const list = ({ names, values }: { names: readonly string[]; values: readonly string[] }) =>
    names.map((name, index): [string, string] => [name, values[index] ?? ''])
  const { first, second, headers, body, trailers } = message
  return { first, second, headers: list(headers), body, trailers: trailers === undefined ? [] : list(trailers) }
}

function sameAsNode(ours: readonly ReadMessage[], theirs: readonly NodeMessage[]): number {
  let both = 0
  for (const [index, message] of ours.entries()) {
    const other = theirs[index]
    if (!message.complete || other === undefined || !other.complete) break
    const { complete: _, ...rest } = other
    assert.deepEqual(comparable(message), rest)
    both++
  }
  return both
}

test('what is well-formed is read as Node reads it', async () => {
  let compared = 0
  await fc.assert(
    fc.asyncProperty(streams, async (bytes) => {
      const ours = readMessages('request', [bytes], { fin: true })
      const theirs = await readByNode(bytes)
      if (ours.fault === undefined && ours.messages.every(({ complete }) => complete)) {
        assert.equal(theirs.filter(({ complete }) => complete).length, ours.messages.length)
      }
      compared += sameAsNode(ours.messages, theirs)
    }),
    { numRuns: 300 },
  )
  assert.ok(compared > 150, `only ${compared} requests were accepted by both`)
})

test('what smugglers make of it is read as Node reads it, and nothing is accepted that Node refuses but for methods it does not know', async () => {
  let compared = 0
  await fc.assert(
    fc.asyncProperty(mutated, async (bytes) => {
      const ours = readMessages('request', [bytes], { fin: true }).messages.filter(({ complete }) => complete)
      const theirs = (await readByNode(bytes)).filter(({ complete }) => complete)
      compared += sameAsNode(ours, theirs)
      const refusedByNode = ours[theirs.length]
      if (refusedByNode !== undefined) assert.ok(!NODE_METHODS.includes(refusedByNode.first), JSON.stringify(refusedByNode))
    }),
    { numRuns: 600 },
  )
  assert.ok(compared > 100, `only ${compared} requests were accepted by both`)
})

test('no split of the bytes changes what is read', () => {
  const cuts = fc.array(fc.nat(600), { maxLength: 12 })
  fc.assert(
    fc.property(fc.oneof(streams, mutated), cuts, (bytes, at) => {
      const sorted = [...new Set(at.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b)
      const pieces = [0, ...sorted]
        .map((start, index) => bytes.subarray(start, sorted[index] ?? bytes.length))
        .filter(({ length }) => length > 0)
      const { rest: whole, ...expected } = readMessages('request', [bytes])
      const { rest: inPieces, ...seen } = readMessages('request', pieces)
      assert.deepEqual(seen, expected)
      // After a fault the connection ends, so how many bytes are left unread then depends on how many had come.
      if (expected.fault === undefined) assert.equal(inPieces, whole)
    }),
    { numRuns: 3000 },
  )
})

test('a head that is written from what was read reads the same again', () => {
  fc.assert(
    fc.property(fc.oneof(streams, mutated), (bytes) => {
      const [message] = readMessages('request', [bytes]).messages
      if (message === undefined) return
      const written = `${message.first} ${message.second} HTTP/1.${message.minor}\r\n${message.headers.names
        .map((name, index) => `${name}: ${message.headers.values[index]}\r\n`)
        .join('')}\r\n`
      const [again] = readMessages('request', [Buffer.from(written, 'latin1')]).messages
      assert.deepEqual(
        { ...again, body: '', trailers: undefined, complete: false },
        { ...message, body: '', trailers: undefined, complete: false },
      )
    }),
    { numRuns: 3000 },
  )
})
