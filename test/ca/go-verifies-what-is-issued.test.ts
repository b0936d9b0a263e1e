/** What the authority issues and publishes, as Go's crypto/x509 reads it, which most of what speaks SPIFFE is built on. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { livesOf, prepareAuthorities } from '#ca/prepare'
import { addPrepared, takeStep } from '#ca/rotation'
import { createCsr } from '#pki/csr'
import { generatePrivateKey } from '#pki/keys'
import { type JsonObject, keysOf, startTestCa, type TestCa, TRUST_DOMAIN } from '../support/ca.ts'
import { hasProgram, temporaryFolder } from '../support/openssl.ts'

const SOURCE = join(import.meta.dirname, '../support/verify-svid.go')
const ID = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`
/** Go compiles its own library once, which takes minutes on a small machine. */
const BUILD_MS = 60_000

interface Verified {
  readonly uris: readonly string[]
  readonly isCa: boolean
  readonly roots: number
  readonly length: number
}

/** A chain is the leaf, the intermediate and the root. */
function verified(roots: number): Verified {
  return { uris: [ID], isCa: false, roots, length: 3 }
}

async function rotateUntilActive({ store, ca, ...rest }: TestCa): Promise<void> {
  const { root, intermediate } = livesOf(await store.authorities(), TRUST_DOMAIN)
  const made = await prepareAuthorities({
    keys: keysOf(rest),
    trustDomain: TRUST_DOMAIN,
    now: Date.now(),
    rootTtl: root,
    intermediateTtl: intermediate,
  })
  await addPrepared(store, made.records)
  for (const step of ['publish', 'activate'] as const)
    await takeStep(store, step, { now: Date.now(), rules: { refreshHint: 1000, svidLife: 3_600_000 }, force: true })
  await ca.refresh()
}

test('certificates, chains and bundles are those of Go’s crypto/x509, before, in and after a rotation', async (t) => {
  if (!hasProgram('go', 'version')) return t.skip('go is not here: https://go.dev/dl')
  const program = join(temporaryFolder(t), 'verify-svid')
  const built = spawnSync('go', ['build', '-o', program, SOURCE], {
    encoding: 'utf8',
    timeout: BUILD_MS,
    env: { ...process.env, GO111MODULE: 'off', GOTOOLCHAIN: 'local', GOPROXY: 'off' },
  })
  if (built.signal !== null) return t.skip(`go took more than ${BUILD_MS / 1000} s to compile its library; run the test again`)
  assert.equal(built.status, 0, built.stderr)
  const ask = (answer: JsonObject): { readonly found: Verified | undefined; readonly said: string } => {
    const { status, stdout, stderr } = spawnSync(program, { input: JSON.stringify(answer), encoding: 'utf8' })
    return { found: status === 0 ? (JSON.parse(stdout) as Verified) : undefined, said: stderr }
  }

  const ca = await startTestCa(t)
  const held = await ca.obtain('/ns/shop/sa/cart')
  assert.deepEqual(ask(held.answer), { found: verified(1), said: '' })

  const csr = await createCsr({ privateKey: await generatePrivateKey('RSA-2048') })
  const renewed = await ca.post('/v1/x509-svid', { csr }, { as: held })
  assert.deepEqual(ask(renewed.body), { found: verified(1), said: '' })

  await rotateUntilActive(ca)
  const rotated = await ca.post('/v1/x509-svid', { csr }, { as: held })
  assert.deepEqual(ask(rotated.body), { found: verified(2), said: '' })
  const published = await ca.get('/v1/bundle')
  assert.deepEqual(ask({ svid: held.answer['svid'], bundle: published.body }), { found: verified(2), said: '' })

  // What it says yes to above it can say no to.
  const stale = ask({ svid: rotated.body['svid'], bundle: held.answer['bundle'] })
  assert.match(stale.said, /certificate signed by unknown authority/)
  const [leaf] = held.answer['svid'] as readonly string[]
  assert.match(ask({ svid: [leaf], bundle: published.body }).said, /certificate signed by unknown authority/)
})
