import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withoutSecrets } from '#telemetry/without-secrets'

const PEM = '-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n'
const JWT = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlc2lnbmF0dXJl'

const HIDDEN: readonly { readonly what: string; readonly value: unknown }[] = [
  { what: 'a private key, wherever it stands', value: { a: [{ b: `x ${PEM}` }] } },
  { what: 'a token, in the middle of a text', value: `Bearer ${JWT} refused` },
  { what: 'the password of a URL', value: { store: 'postgres://ca:MHc@db/ca' } },
  { what: 'what a key names a secret', value: { keyPem: 'MHc', password: 'MHc', client_secret: 'MHc', Authorization: 'MHc' } },
  { what: 'credentials that a criterion was about', value: { name: 'header/authorization', expected: 'is …', actual: 'MHc' } },
  { what: 'a key in a query that a criterion was about', value: { name: 'query/api_key', actual: 'MHc', hint: 'MHc' } },
]

for (const { what, value } of HIDDEN) {
  test(`${what} is not shown`, () => {
    const shown = JSON.stringify(withoutSecrets(value))
    assert.match(shown, /\(not shown\)/)
    assert.doesNotMatch(shown, /MHc|c2ln/)
  })
}

test('what is no secret is shown as it is', () => {
  const value = {
    name: 'header/x-team',
    actual: 'shop',
    key: 'key.pem',
    tokens: [{ issuer: 'https://issuer.example/a', jwks: { file: 'jwks.json' } }],
    n: 1,
    none: null,
    yes: true,
    certificate: '-----BEGIN CERTIFICATE-----',
  }
  assert.deepEqual(withoutSecrets(value), value)
})

test('a value without end comes to one', () => {
  const value: Record<string, unknown> = {}
  value['self'] = value
  assert.ok(JSON.stringify(withoutSecrets(value)).length < 2000)
})
