/** Our verdicts on generated chains against those of `openssl verify`, asked about each bundle by itself. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ExtendedKeyUsage, KeyUsageFlags } from '@peculiar/x509'
import * as fc from 'fast-check'
import type { ReasonCode } from '#base/reasons'
import type { Authority } from '#pki/authority'
import { generatePrivateKey } from '#pki/keys'
import { verifyChain } from '#pki/path-verdict'
import { certificatesPem } from '#pki/pem'
import { type CertificateFlaws, createTestMesh, issueCertificate } from '../support/authority.ts'
import { issueSigner } from '../support/signers.ts'
import { trustIn } from '../support/trust.ts'

const CHAINS = 200
const AT_ONCE = 4
const HOUR = 3_600_000
const now = Math.floor(Date.now() / 1000) * 1000

const meshes = { a: await createTestMesh('a.example', { now }), b: await createTestMesh('b.example', { now }) }
const strangersKey = await generatePrivateKey()
const stranger = await createTestMesh('a.example', { now })
type Domain = keyof typeof meshes

const FLAWS: Readonly<Record<string, CertificateFlaws>> = {
  none: {},
  expired: { notBefore: now - 2 * HOUR, notAfter: now - HOUR },
  'not yet valid': { notBefore: now + HOUR, notAfter: now + 2 * HOUR },
  forged: { signer: strangersKey },
  'without issuer key': { authorityKeyId: null },
  'with the key of another issuer': { authorityKeyId: 'abcd' },
  'for servers alone': { extendedKeyUsage: [ExtendedKeyUsage.serverAuth] },
  'for clients alone': { extendedKeyUsage: [ExtendedKeyUsage.clientAuth] },
  'without extended key usage': { extendedKeyUsage: null },
}
const SIGNER_FLAWS: Readonly<Record<string, CertificateFlaws>> = {
  ...FLAWS,
  'that is no CA': { basicConstraints: { ca: false } },
  'without basic constraints': { basicConstraints: null },
  'without keyCertSign': { keyUsage: { usages: KeyUsageFlags.cRLSign } },
  'with path length 0': { basicConstraints: { ca: true, pathLength: 0 } },
  'without own key identifier': { subjectKeyId: null },
  'under the name of the others': { subject: [['O', 'intermediate']] },
}

/** One generated chain. Most are right but for one thing, since with two things wrong either may be what is found. */
interface Model {
  readonly claims: Domain
  /** Who signed it; `s` is an authority that is in no bundle. */
  readonly signedBy: Domain | 's'
  /** What is wrong with each intermediate, from the root down, and with the leaf. */
  readonly signers: readonly string[]
  readonly leaf: string
  readonly sent: 'as it should be' | 'with root' | 'reversed' | 'without intermediates' | 'twice' | 'with a stranger'
  readonly federated: boolean
}

const mostly = (usual: string, others: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, { weight: 2, arbitrary: fc.constantFrom(...others) })

const model: fc.Arbitrary<Model> = fc.record({
  claims: fc.constantFrom<Domain>('a', 'b'),
  signedBy: fc.constantFrom<Domain | 's'>('a', 'a', 'a', 'b', 'b', 's'),
  signers: fc.array(mostly('none', Object.keys(SIGNER_FLAWS)), { maxLength: 2 }),
  leaf: mostly('none', Object.keys(FLAWS)),
  sent: fc.constantFrom<Model['sent']>(
    'as it should be',
    'as it should be',
    'as it should be',
    'with root',
    'reversed',
    'without intermediates',
    'twice',
    'with a stranger',
  ),
  federated: fc.boolean(),
})

async function chainOf({ claims, signedBy, signers, leaf, sent }: Model): Promise<Buffer[]> {
  const { root } = signedBy === 's' ? stranger : meshes[signedBy]
  let authority: Authority = root
  for (const [index, flaw] of signers.entries()) {
    authority = await issueSigner(authority, {
      subject: [['O', `intermediate ${index}`]],
      uris: [],
      notBefore: now - HOUR,
      notAfter: now + HOUR,
      ...SIGNER_FLAWS[flaw],
    })
  }
  const { certificate } = await issueCertificate({
    authority,
    uris: [`spiffe://${meshes[claims].trustDomain}/x`],
    notBefore: now - HOUR,
    notAfter: now + HOUR,
    ...FLAWS[leaf],
  })
  const above = authority.chain
  const forms: Readonly<Record<Model['sent'], readonly Buffer[]>> = {
    'as it should be': above,
    'with root': [...above, root.certificate],
    reversed: above.toReversed(),
    'without intermediates': [],
    twice: above.flatMap((one) => [one, one]).slice(0, 3),
    'with a stranger': [...above, stranger.issuer.certificate],
  }
  return [certificate, ...forms[sent]]
}

const dir = mkdtempSync(join(tmpdir(), 'postern-paths-'))
for (const [name, { bundlePem }] of Object.entries(meshes)) writeFileSync(join(dir, `${name}.pem`), bundlePem)

/** What OpenSSL says when it knows one bundle and nothing else: undefined where it is content. */
function opensslRefusal(domain: Domain, chainFile: string): Promise<string | undefined> {
  const args = [
    'verify',
    '-CAfile',
    join(dir, `${domain}.pem`),
    '-no-CApath',
    '-no-CAstore',
    '-purpose',
    'sslclient',
    '-attime',
    String(now / 1000),
  ]
  return new Promise((resolve) => {
    execFile('openssl', [...args, '-untrusted', chainFile, chainFile], (error, _stdout, stderr) =>
      resolve(error === null ? undefined : stderr),
    )
  })
}

/** Reasons that are the standard's or federation's own, on which OpenSSL has nothing to say. */
const OURS_ALONE: readonly ReasonCode[] = [
  'ERR_SVID_EXTENDED_KEY_USAGE',
  'ERR_SVID_NO_ISSUER_KEY_ID',
  'ERR_SVID_ISSUER_AMBIGUOUS',
  'ERR_SVID_TRUST_DOMAIN_UNKNOWN',
]

interface Tally {
  accepted: number
  refusedByBoth: number
  oursAlone: number
}

async function check(model: Model, file: string, tally: Tally): Promise<void> {
  const chain = await chainOf(model)
  writeFileSync(file, certificatesPem(chain))
  const { a, b } = meshes
  const verdict = verifyChain(chain, trustIn(model.federated ? [a, b] : [meshes[model.claims]]), now, 'client')
  const other: Domain = model.claims === 'a' ? 'b' : 'a'
  const [own, foreign] = await Promise.all([opensslRefusal(model.claims, file), opensslRefusal(other, file)])
  const where = `${JSON.stringify(model)}\n${verdict.ok ? 'accepted' : `${verdict.reason} ${verdict.detail}`}\nOpenSSL, own bundle: ${own ?? 'ok'}\nOpenSSL, other bundle: ${foreign ?? 'ok'}`
  if (verdict.ok) {
    assert.equal(own, undefined, `accepted what OpenSSL refuses: ${where}`)
    assert.notEqual(foreign, undefined, `accepted what leads to another domain: ${where}`)
    tally.accepted++
  } else if (own !== undefined) {
    tally.refusedByBoth++
  } else {
    const isStray = model.federated && model.sent === 'with a stranger' && verdict.reason === 'ERR_SVID_ISSUER_UNKNOWN'
    assert.ok(isStray || OURS_ALONE.includes(verdict.reason), `refused what OpenSSL accepts: ${where}`)
    tally.oursAlone++
  }
}

test('every chain that is accepted, OpenSSL accepts against the bundle of its own domain alone; what is refused for its path, OpenSSL refuses', async (t) => {
  if (spawnSync('openssl', ['version']).status !== 0) return t.skip('there is no openssl')
  t.after(() => rmSync(dir, { recursive: true }))
  const seed = Number(process.env['FC_SEED'] ?? Date.now() & 0x7fffffff)
  t.diagnostic(`seed ${seed} (FC_SEED)`)
  const models = fc.sample(model, { numRuns: CHAINS, seed })
  const tally: Tally = { accepted: 0, refusedByBoth: 0, oursAlone: 0 }
  const remaining = models.entries()
  const workers = Array.from({ length: AT_ONCE }, async () => {
    for (const [index, one] of remaining) await check(one, join(dir, `${index}.pem`), tally)
  })
  await Promise.all(workers)
  t.diagnostic(
    `${CHAINS} chains: ${tally.accepted} accepted by both, ${tally.refusedByBoth} refused by both, ${tally.oursAlone} refused by our own rules alone`,
  )
  assert.ok(tally.accepted > 20 && tally.refusedByBoth > 20, 'the chains are too much alike to say anything')
})
