/** What a bearer token costs a request: verified before, and for the first time; and what the assertion to the app costs. Prints medians; run alone. */
import { hash } from 'node:crypto'
import { systemClock } from '#base/clock'
import type { HeaderList } from '#http/header-list'
import { recogniseToken } from '#proxy/token-stage'
import { createAssertionSigner } from '#token/assertion'
import { createTokenVerifier } from '#token/verifier'
import { CART } from '../../test/support/policies.ts'
import { issuerKey, keySetText, serviceAccountClaims, signToken } from '../../test/support/token-issuer.ts'
import { median } from '../median.ts'

const CALLS = 20_000
const now = Date.now()

async function verifierFor(keys: string) {
  const origin = {
    name: 'keys',
    isLocal: true,
    interval: 1e9,
    cooldown: 0,
    load: () => Promise.resolve({ ok: true as const, value: keys }),
  }
  const verifier = createTokenVerifier({
    issuers: [
      {
        issuer: 'https://kubernetes.default.svc.cluster.local',
        audiences: ['catalog'],
        kind: 'serviceAccount',
        trustDomain: 'example.org',
        origin,
        keep: 1e9,
        forwardToken: false,
      },
    ],
    clock: systemClock,
    random: Math.random,
  })
  await verifier.reload()
  return verifier
}

/** Eight header lines of a request as services send it, the token among them. */
function headersWith(authorization: string): HeaderList {
  return {
    names: ['host', 'user-agent', 'accept', 'authorization', 'content-type', 'accept-encoding', 'x-a', 'x-b'],
    values: ['catalog', 'bench', '*/*', authorization, 'application/json', 'gzip', '1', '2'],
  }
}

function print(micros: number, name: string): void {
  console.log(`${(micros * 1000).toFixed(0).padStart(8)} ns  ${name}`)
}

/** @returns median µs of 15 rounds */
function measure(rounds: number, call: () => void): number {
  return median(
    Array.from({ length: 15 }, () => {
      const start = performance.now()
      for (let index = 0; index < rounds; index++) call()
      return ((performance.now() - start) * 1000) / rounds
    }),
  )
}

for (const alg of ['ES256', 'RS256']) {
  const key = issuerKey(alg)
  const verifier = await verifierFor(keySetText(key))
  const token = signToken(key, serviceAccountClaims(now, 'shop', 'cart', { padding: 'x'.repeat(300) }))
  const bearer = `Bearer ${token}`
  await verifier.verify(token, now, false)
  const lists = measure(CALLS, () => void headersWith(bearer))
  // As from the wire, where each request brings a string of its own.
  const bytes = Buffer.from(bearer)
  const strings = measure(CALLS, () => void bytes.toString('latin1'))
  const hashing = measure(CALLS, () => void hash('sha256', token, 'latin1'))
  const seen = measure(CALLS, () => {
    if (recogniseToken(verifier, false, CART, headersWith(bytes.toString('latin1')), now) instanceof Promise)
      throw new Error('not remembered')
  })
  const news = Array.from({ length: 400 }, (_, index) => signToken(key, serviceAccountClaims(now, 'shop', 'cart', { jti: `${index}` })))
  const first: number[] = []
  for (const fresh of news) {
    const start = performance.now()
    const result = await verifier.verify(fresh, now, false)
    if (result?.ok !== true) throw new Error(JSON.stringify(result))
    first.push((performance.now() - start) * 1000)
  }
  print(seen - lists - strings, `${alg} token of ${token.length} bytes seen again`)
  print(hashing, 'of that, its hash')
  print(median(first), `${alg} token for the first time`)
  verifier.close()
}

const signer = createAssertionSigner()
const request = { id: 'r', method: 'GET', host: 'catalog', path: '/a' }
const own = 'spiffe://example.org/ns/shop/sa/catalog'
const shared = measure(CALLS, () => void signer.assert({ peer: CART, token: undefined }, own, own, now))
const bound = measure(400, () => void signer.assert({ peer: CART, token: undefined }, own, own, now, request))
print(shared, 'assertion that requests share')
print(bound, 'assertion bound to its request')
