/**
 * The X509-SVIDs and bundles that go-spiffe and rust-spiffe test themselves with. What each of them expects is in the name of the file, or in the
 * table here where the name does not say; every disagreement is named in docs/conformance.md.
 */
import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import { readBundle } from '#pki/bundle'
import { readLeafFacts } from '#pki/leaf-facts'
import { verifyChain } from '#pki/path-verdict'
import { certificatesOfPem, formatPem } from '#pki/pem'
import { checkLeaf, checkSigner } from '#pki/svid-rules'
import { createTrustStore } from '#pki/trust-store'
import { readWorkloadIdentity } from '#pki/workload-identity'

const ROOT = join(import.meta.dirname, '../..')
const DATA = join(ROOT, '../shared/conformance/svid')
const skip = existsSync(DATA) ? false : 'shared/conformance/svid is absent'

type Answer = 'good' | ReasonCode

interface Case {
  /** What the project that the file comes from expects. */
  readonly theirs: 'good' | 'wrong'
  /** What we answer, by its own reason code. */
  readonly ours: Answer
}

const good: Case = { theirs: 'good', ours: 'good' }
function wrong(ours: ReasonCode): Case {
  return { theirs: 'wrong', ours }
}

/** Certificates and chains, held to the rules of the document: their authorities are not part of the data. */
const CERTIFICATES: Readonly<Record<string, Case>> = {
  'pem/good-cert-and-key.pem': good,
  'pem/good-key-and-cert.pem': good,
  'pem/good-leaf-and-intermediate.pem': good,
  'pem/good-leaf-only.pem': good,
  'pem/corrupt-cert.pem': wrong('ERR_SVID_MALFORMED'),
  'pem/not-pem': wrong('ERR_TLS_NO_CERTIFICATE'),
  'pem/wrong-intermediate-no-ca.pem': wrong('ERR_SVID_SIGNER_NOT_CA'),
  'pem/wrong-intermediate-no-key-cert-sign.pem': wrong('ERR_SVID_SIGNER_NO_CERT_SIGN'),
  'pem/wrong-leaf-ca-true.pem': wrong('ERR_SVID_LEAF_IS_CA'),
  'pem/wrong-leaf-cert-sign.pem': wrong('ERR_SVID_LEAF_CERT_SIGN'),
  'pem/wrong-leaf-crl-sign.pem': wrong('ERR_SVID_LEAF_CRL_SIGN'),
  'pem/wrong-leaf-empty-id.pem': wrong('ERR_SVID_NO_ID'),
  'pem/wrong-leaf-no-digital-signature.pem': wrong('ERR_SVID_LEAF_NO_DIGITAL_SIGNATURE'),
  'der/1-svid-chain.der': good,
  'der/expired-svid-chain.der': good,
  'der/svid-with-dns.der': good,
  'der/empty-subject-name.der': { theirs: 'good', ours: 'ERR_SVID_SAN_NOT_CRITICAL' },
  'der/corrupted': wrong('ERR_SVID_MALFORMED'),
  'der/wrong-intermediate-no-ca.der': wrong('ERR_SVID_SIGNER_NOT_CA'),
  'der/wrong-intermediate-no-key-cert-sign.der': wrong('ERR_SVID_SIGNER_NO_CERT_SIGN'),
  'der/wrong-leaf-ca-true.der': wrong('ERR_SVID_LEAF_IS_CA'),
  'der/wrong-leaf-cert-sign.der': wrong('ERR_SVID_LEAF_CERT_SIGN'),
  'der/wrong-leaf-crl-sign.der': wrong('ERR_SVID_LEAF_CRL_SIGN'),
  'der/wrong-leaf-empty-id.der': wrong('ERR_SVID_NO_ID'),
  'der/wrong-leaf-no-digital-signature.der': wrong('ERR_SVID_LEAF_NO_DIGITAL_SIGNATURE'),
}

/** Keys, with the certificate each is read with. */
const KEYS: Readonly<Record<string, Case & { readonly certificate: string }>> = {
  'pem/good-cert-and-key.pem': { ...good, certificate: 'pem/good-cert-and-key.pem' },
  'pem/good-key-and-cert.pem': { ...good, certificate: 'pem/good-key-and-cert.pem' },
  'pem/key-pkcs8-ecdsa.pem': { ...good, certificate: 'pem/good-leaf-and-intermediate.pem' },
  'pem/key-pkcs8-rsa.pem': { ...good, certificate: 'pem/good-leaf-only.pem' },
  'pem/corrupt-key.pem': { ...wrong('ERR_IDENTITY_KEY'), certificate: 'pem/good-leaf-only.pem' },
  'der/1-key.der': { ...good, certificate: 'der/1-svid-chain.der' },
  'der/expired-key.der': { ...good, certificate: 'der/expired-svid-chain.der' },
  'der/svid-with-dns-key.der': { ...good, certificate: 'der/svid-with-dns.der' },
  'der/empty-subject-name-key.der': { theirs: 'good', ours: 'ERR_IDENTITY_CERTIFICATE', certificate: 'der/empty-subject-name.der' },
}

const BUNDLES: Readonly<Record<string, Case>> = {
  'bundle/spiffebundle/testdata/spiffebundle_valid_1.json': good,
  'bundle/spiffebundle/testdata/spiffebundle_valid_2.json': good,
  'bundle/spiffebundle/testdata/spiffebundle_valid_with_wit.json': good,
  'bundle/spiffebundle/testdata/spiffebundle_missing_kid.json': wrong('ERR_BUNDLE_MALFORMED'),
  'bundle/spiffebundle/testdata/spiffebundle_no_keys.json': wrong('ERR_BUNDLE_MALFORMED'),
  'bundle/spiffebundle/testdata/spiffebundle_multiple_x509.json': { theirs: 'wrong', ours: 'good' },
  'bundle/x509bundle/testdata/cert.pem': { theirs: 'good', ours: 'ERR_BUNDLE_AUTHORITY' },
  'bundle/x509bundle/testdata/certs.pem': { theirs: 'good', ours: 'ERR_BUNDLE_AUTHORITY' },
  'bundle/x509bundle/testdata/empty.pem': { theirs: 'good', ours: 'ERR_BUNDLE_EMPTY' },
  'bundle/x509bundle/testdata/corrupted.pem': wrong('ERR_BUNDLE_AUTHORITY'),
  'bundle/x509bundle/testdata/key.pem': wrong('ERR_BUNDLE_MALFORMED'),
  'bundle/x509bundle/testdata/not-pem.pem': wrong('ERR_BUNDLE_MALFORMED'),
  'bundle/jwtbundle/testdata/jwks_valid_1.json': { theirs: 'good', ours: 'ERR_BUNDLE_EMPTY' },
  'bundle/jwtbundle/testdata/jwks_valid_2.json': { theirs: 'good', ours: 'ERR_BUNDLE_EMPTY' },
  'bundle/jwtbundle/testdata/jwks_missing_kid.json': wrong('ERR_BUNDLE_EMPTY'),
}

function read(file: string): Buffer {
  return readFileSync(join(DATA, file))
}

/** The certificates of a file, PEM or DER one after the other. */
function chainIn(file: string): Buffer[] {
  const content = read(file)
  if (file.startsWith('pem/')) return certificatesOfPem(content.toString('latin1'))
  const chain: Buffer[] = []
  for (let at = 0; at < content.length;) {
    const size = content[at] === 0x30 && content[at + 1] === 0x82 ? 4 + content.readUInt16BE(at + 2) : content.length - at
    chain.push(content.subarray(at, at + size))
    at += size
  }
  return chain
}

function judgeDocument(chain: readonly Buffer[]): Answer {
  let trustDomain = ''
  for (const [index, der] of chain.entries()) {
    const facts = readLeafFacts(der)
    if (!facts.ok) return facts.reason
    if (index > 0) {
      const fault = checkSigner(facts.value, trustDomain, 'client')
      if (fault !== undefined) return fault.reason
      continue
    }
    const id = checkLeaf(facts.value)
    if (!id.ok) return id.reason
    ;({ trustDomain } = id.value)
  }
  return chain.length === 0 ? 'ERR_TLS_NO_CERTIFICATE' : 'good'
}

function codeOf(run: () => unknown): Answer {
  try {
    run()
    return 'good'
  } catch (error) {
    assert.ok(error instanceof PosternError, String(error))
    return error.code
  }
}

function judgeKey(file: string, certificate: string): Answer {
  const certificatePem = chainIn(certificate)
    .map((der) => formatPem('CERTIFICATE', der))
    .join('')
  const keyPem = file.startsWith('pem/')
    ? read(file).toString('latin1')
    : createPrivateKey({ key: read(file), format: 'der', type: 'pkcs8' }).export({ type: 'pkcs8', format: 'pem' })
  return codeOf(() => readWorkloadIdentity({ certificatePem, keyPem }))
}

test('every X509-SVID, key and bundle of go-spiffe and rust-spiffe is judged as they judge it, but for what is named', { skip }, (t) => {
  const page = readFileSync(join(ROOT, 'docs/conformance.md'), 'utf8')
  let agreed = 0
  let total = 0
  const judge = (file: string, expected: Case, answer: Answer): void => {
    assert.equal(answer, expected.ours, file)
    total++
    if ((answer === 'good') === (expected.theirs === 'good')) agreed++
    else assert.ok(page.includes(`\`${file}\``), `${file} is not in docs/conformance.md`)
  }
  for (const [file, expected] of Object.entries(CERTIFICATES)) judge(file, expected, judgeDocument(chainIn(file)))
  for (const [file, expected] of Object.entries(KEYS)) judge(file, expected, judgeKey(file, expected.certificate))
  // The authorities of these bundles are of `spiffe://local`.
  for (const [file, expected] of Object.entries(BUNDLES)) {
    judge(
      file,
      expected,
      codeOf(() => readBundle(read(file).toString('utf8'), 'local', file)),
    )
  }
  t.diagnostic(`${agreed} / ${total} agreed`)
  assert.ok(page.includes(`**${agreed} / ${total}**`), 'docs/conformance.md has another figure')
})

test('the one chain whose root is in the data is a peer under that root, and a stranger under another', { skip }, () => {
  const chain = chainIn('der/1-svid-chain.der')
  const root = formatPem('CERTIFICATE', chain[1]!)
  const trust = createTrustStore('example.org', [readBundle(root, 'example.org', 'root')])
  const verdict = verifyChain(chain, trust, Date.UTC(2027, 0, 1), 'client')
  assert.ok(verdict.ok, JSON.stringify(verdict))
  assert.equal(verdict.value.id.uri, 'spiffe://example.org/service')
  const late = verifyChain(chain, trust, Date.UTC(2101, 0, 1), 'client')
  assert.equal(!late.ok && late.reason, 'ERR_SVID_EXPIRED')
})
