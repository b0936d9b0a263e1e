/**
 * aws/http-desync-guardian: requests with a tier each. Severe and Ambiguous ones must be refused, or leave nothing ambiguous in the head
 * that is written anew; Compliant ones must be accepted. Disagreements are named here and defended in docs/conformance.md.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { readRequest } from '../support/http1-bytes.ts'

const FOLDER = join(import.meta.dirname, '..', '..', '..', 'shared', 'conformance', 'http1-desync')

interface Case {
  readonly name: string
  readonly uri: string
  readonly method: string
  readonly version: string
  readonly headers: readonly { readonly name: string; readonly value: string | number }[] | null
  readonly expected: { readonly tier: 'Compliant' | 'Acceptable' | 'Ambiguous' | 'Severe' }
}

/** Compliant by the set, refused by us: name → reason. */
const STRICTER: Readonly<Record<string, string>> = {
  'Different Transfer-Encoding headers': 'ERR_HTTP_HEADER_REPEATED',
  'Different Transfer-Encoding headers combined': 'ERR_HTTP_TRANSFER_ENCODING',
  'Transfer-Encoding with a param: chunked;custom_param': 'ERR_HTTP_HEADER_REPEATED',
  'Correct TE OK': 'ERR_HTTP_TRANSFER_CODING',
  'Transfer-Encoding: identity and chunked OK': 'ERR_HTTP_TRANSFER_ENCODING',
  'Multiple transfer encoding headers in a single request OK': 'ERR_HTTP_HEADER_REPEATED',
  'TE with custom parameters OK': 'ERR_HTTP_TRANSFER_ENCODING',
  'Compliant URL': 'ERR_PATH_FRAGMENT',
  'International in URI': 'ERR_HTTP_TARGET',
  'Empty URI': 'ERR_HTTP_TARGET',
}

/** The set leaves Host away; HTTP/1.1 without it is refused before anything else is looked at. */
function bytesOf(item: Case): Buffer {
  const headers = item.headers ?? []
  const host = headers.some(({ name }) => name.toLowerCase() === 'host') ? [] : ['Host: localhost']
  const version = item.version === '' ? '' : ` ${item.version}`
  const lines = [`${item.method} ${item.uri}${version}`, ...host, ...headers.map(({ name, value }) => `${name}: ${value}`), '', '']
  return Buffer.from(lines.join('\r\n'))
}

/** Whether a reader of any taste finds one framing at most in what we would write from this head. */
function isNeutralised(result: Extract<ReturnType<typeof readRequest>, { ok: true }>): boolean {
  const { names, values } = result.headers
  const plain = names.map((name) => name.replace(/[^a-z0-9]/g, ''))
  const framing = plain.filter((name) => name === 'contentlength' || name === 'transferencoding')
  const clean = [...names, ...values, result.method, result.target].every((text) => !/[\r\n\0]/.test(text))
  return clean && framing.length === (names.includes('content-length') || names.includes('transfer-encoding') ? 1 : 0)
}

test('requests meant to desynchronise are refused or neutralised, compliant ones accepted', (t) => {
  if (!existsSync(FOLDER)) return t.skip('shared/conformance/http1-desync is absent')
  let total = 0
  let agreed = 0
  const tally: Record<string, { refused: number; accepted: number }> = {}
  const disagreements: Record<string, string> = {}
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.yaml'))) {
    for (const item of parse(readFileSync(join(FOLDER, file), 'utf8')) as Case[]) {
      total++
      const result = readRequest(bytesOf(item))
      assert.ok(result !== undefined, `${file}: ${item.name}: the end of the head was not found`)
      const { tier } = item.expected
      const count = (tally[tier] ??= { refused: 0, accepted: 0 })
      if (result.ok) count.accepted++
      else count.refused++
      if (tier === 'Compliant' ? result.ok : !result.ok || isNeutralised(result)) agreed++
      else disagreements[item.name] = result.ok ? 'accepted' : result.reason
    }
  }
  t.diagnostic(`agreed ${agreed} / ${total}: ${JSON.stringify(tally)}`)
  assert.deepEqual(disagreements, STRICTER)
  assert.equal(tally['Severe']?.accepted, 0)
  assert.equal(agreed, total - Object.keys(STRICTER).length)
})
