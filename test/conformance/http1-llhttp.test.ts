/**
 * nodejs/llhttp: messages with the events of a strict parser. Where llhttp reports an error we must refuse, where it reads a message we
 * must read the same or be stricter for a reason named here and in docs/conformance.md.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type ReadMessage, readMessages } from '../support/message-reader.ts'

const FOLDER = join(import.meta.dirname, '..', '..', '..', 'shared', 'conformance', 'http1-llhttp')

/** Reason → how many cases we refuse for it although llhttp reads them. Every reason is defended in docs/conformance.md. */
const STRICTER: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_LINE: 5,
  ERR_HTTP_METHOD: 5,
  ERR_HTTP_TARGET: 1,
  ERR_HTTP_HEADER_VALUE: 1,
  ERR_PATH_FRAGMENT: 3,
  ERR_HTTP_HOST: 1,
  ERR_RESPONSE_FRAMING: 4,
  ERR_RESPONSE_STATUS_LINE: 7,
}

/** Cases that llhttp refuses and we accept, defended in docs/conformance.md. */
const LOOSER: readonly string[] = ['request/invalid.md: HTTP protocol and ANNOUNCE method', 'request/invalid.md: Invalid method']

interface Case {
  readonly title: string
  readonly kind: 'request' | 'response'
  readonly fin: boolean
  readonly input: Buffer
  readonly log: readonly string[]
}

/** Fenced `http` blocks, each after its meta comment and before its `log` block; lenient modes are not ours. */
function casesOf(file: string): Case[] {
  const cases: Case[] = []
  const blocks = /<!-- meta=(\{.*?\}) -->\s*```http\n((?:(?!```)[\s\S])*)```(?:(?!```)[\s\S])*```log\n((?:(?!```)[\s\S])*)```/g
  const text = readFileSync(file, 'utf8')
  for (const match of text.matchAll(blocks)) {
    const [, meta = '', source = '', log = ''] = match
    const { type, skipBody } = JSON.parse(meta) as { type: string; skipBody?: boolean }
    const [kind = '', ...modes] = type.split('-')
    if (modes.some((mode) => mode !== 'finish') || skipBody === true) continue
    const title =
      text
        .slice(0, match.index)
        .match(/^#+ .*$/gm)
        ?.at(-1)
        ?.replace(/^#+ /, '') ?? ''
    cases.push({
      title,
      kind: kind as Case['kind'],
      fin: modes.includes('finish'),
      input: unescape(source),
      log: log.trimEnd().split('\n'),
    })
  }
  return cases
}

/** As llhttp's own fixture reads its files: line ends are CR LF but for the last, a backslash at the end joins lines, the rest is escapes. */
function unescape(source: string): Buffer {
  const text = Buffer.from(source)
    .toString('latin1')
    .replace(/\n$/, '')
    .replace(/\\\n/g, '')
    .replace(/\n/g, '\r\n')
    .replace(/\\([rntf])/g, (_, letter: string) => ({ r: '\r', n: '\n', t: '\t', f: '\f' })[letter] ?? '')
    .replace(/\\x([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(text, 'latin1')
}

interface Expected {
  readonly first: string
  readonly second: string
  readonly headers: [string, string][]
  readonly trailers: [string, string][]
  readonly body: string
}

/** The messages that llhttp read, as far as their heads were complete. */
function expectedMessages(item: Case): Expected[] {
  const messages: Expected[] = []
  let spans: Record<string, string> = {}
  let body = ''
  let fields: [string, string][] = []
  let inBody = false
  for (const line of item.log) {
    const span = /span\[(\w+)\]=(?:"(.*)"|(cr|lf))$/.exec(line)
    if (span !== null) {
      const [, name = '', escaped = '', lineEnd] = span
      const text =
        lineEnd !== undefined
          ? lineEnd === 'cr'
            ? '\r'
            : '\n'
          : Buffer.from(escaped.replace(/\\t/g, '\t').replace(/\\f/g, '\f')).toString('latin1')
      if (name === 'body') body += text
      else spans[name] = (spans[name] ?? '') + text
    } else if (line.includes('message begin')) {
      spans = {}
      fields = []
      body = ''
      inBody = false
    } else if (line.includes('header_value complete')) {
      const name = spans['header_field']?.toLowerCase() ?? ''
      const value = spans['header_value']?.trim() ?? ''
      fields.push([name, name === 'content-length' ? value.replace(/^0+(?=.)/, '') : value])
      delete spans['header_field']
      delete spans['header_value']
    } else if (line.includes('headers complete')) {
      const status = /status=(\d+)/.exec(line)?.[1]
      const [first, second] = status === undefined ? [spans['method'] ?? '', spans['url'] ?? ''] : [status, spans['status'] ?? '']
      messages.push({ first, second, headers: fields, trailers: [], body: '' })
      fields = []
      inBody = true
    }
    const last = messages.at(-1)
    if (last !== undefined && inBody) messages[messages.length - 1] = { ...last, body, trailers: fields }
  }
  return messages
}

/** Most requests of the set have no Host, for which we would refuse all of them: one is added where it is the only thing missing. */
function addHosts(item: Case): Buffer {
  let bytes = item.input
  for (;;) {
    const { fault, rest } = readMessages(item.kind, [bytes], { fin: item.fin })
    const start = bytes.length - rest
    const lineEnd = bytes.indexOf('\r\n', start + 2) + 2
    const [head = ''] = bytes.toString('latin1', start).split('\r\n\r\n')
    if (fault !== 'ERR_HTTP_HOST' || head.toLowerCase().includes('\nhost')) return bytes
    const host = /^\s*\S+ https?:\/\/([^/?#\s]*)/.exec(head)?.[1] ?? 'added.example'
    bytes = Buffer.concat([bytes.subarray(0, lineEnd), Buffer.from(`Host: ${host}\r\n`), bytes.subarray(lineEnd)])
  }
}

/** Fields that we drop from trailers. */
const DROPPED = new Set(['vary', 'content-type'])

function plain(message: ReadMessage, hasHost: boolean): Expected {
  const pairs = (names: readonly string[], values: readonly string[]) =>
    names.map((name, index): [string, string] => [name, values[index] ?? ''])
  return {
    first: message.first,
    second: message.second,
    headers: pairs(message.headers.names, message.headers.values).filter(([name]) => name !== 'host' || hasHost),
    trailers: pairs(message.trailers?.names ?? [], message.trailers?.values ?? []),
    body: message.body,
  }
}

test('what llhttp reads is read the same or refused for a named reason, and what it refuses is refused', (t) => {
  if (!existsSync(FOLDER)) return t.skip('shared/conformance/http1-llhttp is absent')
  let total = 0
  let agreed = 0
  const stricter: Record<string, string[]> = {}
  const looser: string[] = []
  for (const kind of ['request', 'response']) {
    for (const name of readdirSync(join(FOLDER, kind))) {
      for (const item of casesOf(join(FOLDER, kind, name))) {
        total++
        const label = `${kind}/${name}: ${item.title}`
        const ours = readMessages(item.kind, [addHosts(item)], { fin: item.fin })
        const error = item.log.some((line) => /error code=(?!2[123] )/.test(line))
        const expected = expectedMessages(item)
        const refusedByThem = error ? expected.length : Infinity
        if (ours.messages.length > refusedByThem) looser.push(label)
        else if (ours.fault !== undefined && !error) (stricter[ours.fault] ??= []).push(label)
        else agreed++
        for (const [index, message] of ours.messages.entries()) {
          const theirs = expected[index]
          if (theirs === undefined) break
          const trailers = theirs.trailers.filter(([field]) => !DROPPED.has(field))
          const hasHost = theirs.headers.some(([field]) => field === 'host')
          assert.deepEqual(plain(message, hasHost), { ...theirs, trailers }, label)
        }
      }
    }
  }
  t.diagnostic(`agreed ${agreed} / ${total}`)
  assert.deepEqual(
    Object.fromEntries(Object.entries(stricter).map(([reason, labels]) => [reason, labels.length])),
    STRICTER,
    JSON.stringify(stricter, null, 1),
  )
  assert.deepEqual(looser, LOOSER)
})
