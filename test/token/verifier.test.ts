import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { refusal, type Result } from '#base/result'
import type { TokenPrincipal } from '#identity/peer'
import { discoveryOrigin, fileOrigin, type KeyOrigin } from '#token/key-origin'
import { createTokenVerifier, type IssuerOptions, type TokenVerifier } from '#token/verifier'
import { openKeyEndpoint } from '../fakes/key-endpoint.ts'
import { manualClock } from '../support/manual-clock.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { encode, issuerKey, keySetText, signToken, signWithSecret } from '../support/token-issuer.ts'

const NOW = Date.UTC(2026, 10, 24, 12)
const es = issuerKey('ES256', 'es')
const next = issuerKey('ES256', 'next')
const FETCH = { caFile: undefined, tokenFile: undefined, deadline: 30_000 }

interface TextOrigin extends KeyOrigin {
  text: string
  looks: number
}

function textOrigin(text: string): TextOrigin {
  const origin: TextOrigin = {
    name: 'text',
    isLocal: false,
    interval: 300_000,
    cooldown: 10_000,
    text,
    looks: 0,
    load() {
      origin.looks++
      return Promise.resolve({ ok: true, value: origin.text })
    },
  }
  return origin
}

function open(t: TestContext, origin: KeyOrigin, more: Partial<IssuerOptions> = {}, reviewed?: TokenVerifier['reviewed']) {
  const clock = manualClock(NOW)
  const verifier = createTokenVerifier({
    issuers: [
      {
        issuer: 'https://login.example',
        audiences: ['shop'],
        kind: 'oidc',
        trustDomain: undefined,
        origin,
        keep: 3_600_000,
        forwardToken: false,
        ...more,
      },
    ],
    clock,
    random: () => 0.5,
    reviewed,
  })
  t.after(() => verifier.close())
  return { clock, verifier, verify: async (token: string, pass = false) => verifier.verify(token, clock.now(), pass) }
}

function user(sub = 'ann', more: Readonly<Record<string, unknown>> = {}) {
  return { iss: 'https://login.example', sub, aud: 'shop', exp: NOW / 1000 + 60, ...more }
}

function reasonOf(result: Result<TokenPrincipal> | undefined): string | undefined {
  return result === undefined ? 'passed' : result.ok ? undefined : result.reason
}

test('a token that was verified is known at once when it comes again, until it ends', async (t) => {
  const { clock, verifier } = open(t, textOrigin(keySetText(es)))
  await verifier.reload()
  const token = signToken(es, user())
  const pending = verifier.verify(token, NOW, false)
  assert.ok(pending instanceof Promise)
  const result = await pending
  assert.ok(result.ok)
  assert.equal(verifier.verify(token, NOW, false), result)
  clock.advance(60_000)
  assert.equal(reasonOf(await verifier.verify(token, clock.now(), false)), 'ERR_TOKEN_EXPIRED')
  assert.equal(verifier.judge(result.value, clock.now()), 'ERR_TOKEN_EXPIRED')
})

test('tokens that differ in one byte are never taken for one another', async (t) => {
  const { verifier, verify } = open(t, textOrigin(keySetText(es)))
  await verifier.reload()
  const token = signToken(es, user())
  assert.ok((await verify(token))?.ok)
  for (let index = 0; index < token.length; index += 7) {
    const other = `${token.slice(0, index)}${token[index] === 'A' ? 'B' : 'A'}${token.slice(index + 1)}`
    assert.notEqual(reasonOf(await verify(other)), undefined, `byte ${index}`)
  }
  const subjects = await Promise.all(['ann', 'bob'].map((sub) => verify(signToken(es, user(sub)))))
  assert.deepEqual(
    subjects.map((result) => result?.ok === true && result.value.subject),
    ['ann', 'bob'],
  )
})

test('when a key goes, what it verified goes with it, and who holds it hears so', async (t) => {
  const origin = textOrigin(keySetText(es, next))
  const { verifier, clock, verify } = open(t, origin)
  await verifier.reload()
  const [gone, stays] = await Promise.all([verify(signToken(es, user())), verify(signToken(next, user()))])
  assert.ok(gone?.ok === true && stays?.ok === true)
  const before = verifier.digest
  let told = 0
  verifier.subscribe(() => void told++)
  origin.text = keySetText(next)
  await verifier.reload()
  assert.equal(told, 1)
  assert.notEqual(verifier.digest, before)
  assert.equal(verifier.judge(gone.value, clock.now()), 'ERR_TOKEN_KEY_WITHDRAWN')
  assert.equal(verifier.judge(stays.value, clock.now()), undefined)
  assert.equal(reasonOf(await verify(signToken(es, user()))), 'ERR_TOKEN_KEY_UNKNOWN')
})

test('two requests with tokens of an unknown key cause one fetch, and both are served', async (t) => {
  await using endpoint = await openKeyEndpoint(keySetText(es))
  const { verifier, clock, verify } = open(t, discoveryOrigin(endpoint.origin, 300_000, FETCH), { issuer: endpoint.origin })
  const claims = (sub: string) => user(sub, { iss: endpoint.origin })
  await verifier.reload()
  assert.deepEqual(endpoint.asked, ['/.well-known/openid-configuration', '/keys'])
  endpoint.keys = keySetText(es, next)
  clock.advance(10_000)
  const gate = Promise.withResolvers<void>()
  endpoint.gate = gate.promise
  const waiting = ['ann', 'bob'].map((sub) => verify(signToken(next, claims(sub))))
  // A key that is known waits for nobody.
  assert.ok((await verify(signToken(es, claims('eve'))))?.ok)
  gate.resolve()
  for (const result of await Promise.all(waiting)) assert.ok(result?.ok, JSON.stringify(result))
  assert.equal(endpoint.asked.filter((path) => path === '/keys').length, 2)
  // Whoever makes up keys causes no more than one fetch in the cooldown.
  for (const kid of ['a', 'b', 'c']) assert.equal(reasonOf(await verify(signToken(next, claims('x'), { kid }))), 'ERR_TOKEN_KEY_UNKNOWN')
  assert.equal(endpoint.asked.filter((path) => path === '/keys').length, 2)
})

test('without keys nothing is verified, and with the first that come all is well', async (t) => {
  await using endpoint = await openKeyEndpoint(keySetText(es))
  endpoint.behaviour = 'error'
  const { verifier, clock, verify } = open(t, discoveryOrigin(endpoint.origin, 300_000, FETCH), { issuer: endpoint.origin })
  await verifier.reload()
  const token = signToken(es, user('ann', { iss: endpoint.origin }))
  const refused = await verify(token)
  assert.ok(refused !== undefined && !refused.ok)
  assert.equal(refused.reason, 'ERR_TOKEN_KEYS_UNAVAILABLE')
  assert.match(refused.detail, /ERR_JWKS_STATUS.*503/)
  assert.equal(verifier.status()[0]?.failure?.reason, 'ERR_JWKS_STATUS')
  endpoint.behaviour = 'good'
  clock.advance(10_000)
  assert.ok((await verify(token))?.ok)
  assert.equal(verifier.status()[0]?.failure, undefined)
})

test('a file of keys that is replaced is in force within a second', async (t) => {
  const path = join(temporaryFolder(t), 'keys.json')
  writeFileSync(path, keySetText(es))
  const { verifier } = open(t, fileOrigin(path))
  await verifier.reload()
  const changed = new Promise<void>((resolve) => void verifier.subscribe(resolve))
  writeFileSync(path, keySetText(next))
  await verifier.reload()
  await changed
  assert.equal(verifier.status()[0]?.keys, 1)
})

test('tokens of other issuers are refused, or passed where a listener says so; never such as claim a configured issuer', async (t) => {
  const { verifier, verify } = open(t, textOrigin(keySetText(es)))
  await verifier.reload()
  const foreign = [
    signToken(es, user('ann', { iss: 'https://other.example' })),
    signWithSecret('secret', { iss: 'https://other.example' }, {}),
    'opaque-token',
    'a.b.c',
  ]
  for (const token of foreign) {
    assert.equal(reasonOf(await verify(token, true)), 'passed', token)
    assert.notEqual(reasonOf(await verify(token)), undefined)
    assert.notEqual(reasonOf(await verify(token)), 'passed')
  }
  const [, body = ''] = signToken(es, user()).split('.')
  const ours = [
    `${encode('{"alg":"none"}')}.${body}.`,
    `${encode('{"alg":"none"}')}.${body}`,
    `x.${body}==.y.z`,
    signWithSecret('secret', user(), {}),
    signToken(next, user()),
    signToken(es, user('x'.repeat(9000))),
  ]
  for (const token of ours) {
    const reason = reasonOf(await verify(token, true))
    assert.ok(reason !== undefined && reason !== 'passed', `${reason} ${token}`)
  }
})

test('a third party can be asked whether a token still counts, and is asked again after its time', async (t) => {
  let asked = 0
  let answer: ReturnType<typeof refusal> | undefined
  const ask = () => {
    asked++
    return Promise.resolve(answer)
  }
  const { clock, verifier, verify } = open(t, textOrigin(keySetText(es)), { review: { refresh: 5_000, keep: 10_000, ask } })
  await verifier.reload()
  const token = signToken(es, user())
  assert.ok((await verify(token))?.ok)
  assert.ok((await verify(token))?.ok)
  assert.equal(asked, 1)
  answer = refusal('ERR_TOKEN_REVIEW', 'the pod is gone')
  clock.advance(10_001)
  assert.equal(reasonOf(await verify(token)), 'ERR_TOKEN_REVIEW')
  assert.equal(reasonOf(await verify(token)), 'ERR_TOKEN_REVIEW')
  assert.equal(asked, 2)
})

test('what lives under a reviewed token is judged by the answers, by those of the verifier before too', async (t) => {
  let answer: ReturnType<typeof refusal> | undefined
  const review = { refresh: 5_000, keep: 60_000, ask: () => Promise.resolve(answer) }
  const { clock, verifier, verify } = open(t, textOrigin(keySetText(es)), { review })
  await verifier.reload()
  const verified = await verify(signToken(es, user()))
  assert.ok(verified?.ok)
  const principal = verified.value
  assert.equal(verifier.judge(principal, clock.now()), undefined)
  assert.equal(verifier.judgeAgainAt(principal, clock.now()), clock.now() + 5_000)

  const after = open(t, textOrigin(keySetText(es)), { review }, verifier.reviewed)
  await after.verifier.reload()
  answer = refusal('ERR_TOKEN_REVIEW', 'the pod is gone')
  after.clock.advance(5_000)
  assert.equal(after.verifier.judge(principal, after.clock.now()), undefined, 'it is being asked about')
  assert.equal(after.verifier.judgeAgainAt(principal, after.clock.now()), after.clock.now() + 1_000)
  await new Promise(setImmediate)
  assert.equal(after.verifier.judge(principal, after.clock.now()), 'ERR_TOKEN_REVIEW')

  const strict = open(t, textOrigin(keySetText(es)), { review })
  await strict.verifier.reload()
  assert.equal(strict.verifier.judge(principal, strict.clock.now()), 'ERR_TOKEN_REVIEW', 'of it nobody can be asked')
})
