/** Wycheproof's vectors of JSON Web Signature and JSON Web Key. Each disagreement is named here and in docs/conformance.md. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readCompactToken } from '#token/compact'
import { readKeySet } from '#token/key-set'
import { verifySignature } from '#token/signature'

const DATA = join(import.meta.dirname, '../../../shared/conformance/wycheproof')
const skip = existsSync(DATA) ? false : 'shared/conformance/wycheproof is absent'

type Jwk = Readonly<Record<string, unknown>>

interface Vector {
  readonly tcId: number
  readonly comment: string
  readonly jws: unknown
  readonly result: 'valid' | 'invalid' | 'acceptable'
}

interface Group {
  readonly comment: string
  readonly public?: Jwk
  readonly private?: Jwk
  readonly tests: readonly Vector[]
}

/** Where we answer otherwise, and why; symmetric keys apart, which are refused whatever the vector says. */
const OTHERWISE: Readonly<Record<string, string>> = {
  'json_web_signature_test.json 346': 'the key is for PS256, the token is signed with PS384',
  'json_web_signature_test.json 347': 'the key is for `ES521`, which is no algorithm of RFC 7518',
  'json_web_signature_test.json 350': 'the key is for PS256, the token is signed with PS384',
  'json_web_signature_test.json 351': 'the key is for `ES521`, which is no algorithm of RFC 7518',
  'json_web_key_test.json 7': 'a key with the ROCA weakness is told only by factoring tests, which the issuer has to make',
}

function publicKeys(group: Group): readonly Jwk[] {
  const given = group.public ?? group.private ?? {}
  return Array.isArray(given['keys']) ? (given['keys'] as Jwk[]) : [given]
}

async function accepts(keys: readonly Jwk[], jws: unknown): Promise<boolean> {
  if (typeof jws !== 'string') return false
  const set = await readKeySet(JSON.stringify({ keys }))
  if (!set.ok) return false
  const token = readCompactToken(jws)
  return token.ok && !('ok' in (await verifySignature(token.value, set.value)))
}

for (const file of ['json_web_signature_test.json', 'json_web_key_test.json']) {
  test(`${file}: what is forged, confused or symmetric is refused`, { skip }, async (t) => {
    const { testGroups } = JSON.parse(readFileSync(join(DATA, file), 'utf8')) as { readonly testGroups: readonly Group[] }
    let total = 0
    let agreed = 0
    let symmetric = 0
    const differing: string[] = []
    for (const group of testGroups) {
      const keys = publicKeys(group)
      for (const { tcId, jws, result } of group.tests) {
        total++
        const accepted = await accepts(keys, jws)
        if (accepted === (result === 'valid')) agreed++
        else if (keys.every(({ kty }) => kty === 'oct') && !accepted) symmetric++
        else differing.push(`${file} ${tcId}`)
      }
    }
    t.diagnostic(`agreed ${agreed} / ${total}; ${symmetric} valid vectors with symmetric keys refused; ${differing.length} other`)
    assert.deepEqual(
      differing,
      Object.keys(OTHERWISE).filter((name) => name.startsWith(file)),
    )
    assert.ok(total > 20)
  })
}
