/** PEM: what is written is strict, what is read may stand among other text. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { certificatesOfPem, formatPem, parsePem } from '#pki/pem'

test('whatever is written is read back, whatever stands around it', () => {
  const label = fc.constantFrom('CERTIFICATE', 'PRIVATE KEY', 'X509 CRL', 'NEW CERTIFICATE REQUEST')
  const noise = fc.string().filter((text) => !text.includes('-----'))
  const block = fc.record({ label, der: fc.uint8Array({ maxLength: 300 }), before: noise })
  fc.assert(
    fc.property(fc.array(block, { maxLength: 5 }), (blocks) => {
      const text = blocks.map(({ label, der, before }) => `${before}\n${formatPem(label, der)}`).join('')
      assert.deepEqual(
        parsePem(text).map(({ label, der }) => [label, der.toString('hex')]),
        blocks.map(({ label, der }) => [label, Buffer.from(der).toString('hex')]),
      )
    }),
  )
})

test('lines are of 64 characters, and the last one ends', () => {
  const pem = formatPem('CERTIFICATE', randomBytes(100))
  const lines = pem.split('\n')
  assert.deepEqual([lines[1]?.length, lines[2]?.length, lines.at(-1)], [64, 64, ''])
})

test('a view into a larger buffer is written, not the buffer', () => {
  const whole = Buffer.from('0123456789')
  assert.equal(parsePem(formatPem('A', whole.subarray(2, 5)))[0]?.der.toString(), '234')
})

const BROKEN = {
  'an END without BEGIN': '-----END CERTIFICATE-----\n',
  'a BEGIN without END': '-----BEGIN CERTIFICATE-----\nAAAA\n',
  'an END of another label': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n',
  'lower case': '-----begin certificate-----\nAAAA\n-----end certificate-----\n',
} as const

for (const [what, text] of Object.entries(BROKEN)) {
  test(`${what} is no block, and what follows it is read`, () => {
    assert.deepEqual(parsePem(text), [])
    assert.equal(parsePem(text + formatPem('CERTIFICATE', Buffer.of(1))).length, 1)
  })
}

test('a block with headers is found, with its text and without DER', () => {
  const text = '-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n'
  assert.deepEqual(parsePem(text), [{ label: 'RSA PRIVATE KEY', der: Buffer.alloc(0), text }])
})

test('line ends of Windows are read', () => {
  const der = randomBytes(99)
  assert.deepEqual(certificatesOfPem(formatPem('CERTIFICATE', der).replaceAll('\n', '\r\n')), [der])
})

test('a megabyte of BEGINs is read at once, and not in the square of its length', () => {
  const text = '-----BEGIN CERTIFICATE-----\n'.repeat(40_000)
  const started = process.cpuUsage()
  assert.deepEqual(parsePem(text), [])
  assert.ok(process.cpuUsage(started).user < 2_000_000)
})
