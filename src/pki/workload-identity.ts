/** Our own X509-SVID: the chain and key we show to peers. Held to the rules that we hold peers to. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '#base/errors'
import type { CertificateFacts } from '#identity/peer'
import type { SpiffeId } from '#identity/spiffe-id'
import { type LeafFacts, readLeafFacts } from './leaf-facts.ts'
import { LONGEST_CHAIN } from './path-verdict.ts'
import { hasBrokenBlock, parsePem } from './pem.ts'
import { checkLeaf } from './svid-rules.ts'

export interface WorkloadIdentity {
  readonly id: SpiffeId
  /** Leaf, then intermediates. */
  readonly certificatePem: string
  readonly keyPem: string
  /** Of the leaf. */
  readonly facts: CertificateFacts
  /** DER, leaf first. */
  readonly chain: readonly Buffer[]
}

export interface WorkloadIdentityFiles {
  /** Leaf first, then intermediates in their order. Keys beside them (as in one file for both) are passed over. */
  readonly certificatePem: string
  readonly keyPem: string
}

/**
 * Reads our own identity. Whether it is valid now, and leads to the bundle, is `verifyChain`'s to say.
 * @throws ERR_IDENTITY_CERTIFICATE, ERR_IDENTITY_KEY
 */
export function readWorkloadIdentity({ certificatePem, keyPem }: WorkloadIdentityFiles): WorkloadIdentity {
  const blocks = parsePem(certificatePem)
  if (hasBrokenBlock(certificatePem, blocks)) throw unusable('a PEM block in the file is broken off')
  const chain = blocks.filter(({ label }) => label === 'CERTIFICATE').map(({ der }) => der)
  const [leaf] = chain
  if (leaf === undefined) throw unusable('the file holds no CERTIFICATE block')
  if (chain.length > LONGEST_CHAIN) throw unusable(`it has ${chain.length} certificates; peers take at most ${LONGEST_CHAIN}`)
  const certificates = chain.map(readCertificate)
  certificates.forEach((issuer, index) => {
    const child = certificates[index - 1]
    if (child === undefined || isIssuedBy(child.x509, issuer.x509)) return
    throw unusable(`certificate ${index + 1} in it did not issue the one before it; order them from leaf to root`)
  })
  const [first] = certificates
  if (first === undefined) throw new TypeError('A chain has a leaf.')
  const id = checkLeaf(first.facts)
  if (!id.ok) throw unusable(`its leaf is no X509-SVID (${[id.reason, id.detail].filter(Boolean).join(': ')})`)
  const privateKey = readKey(keyPem)
  if (!first.x509.checkPrivateKey(privateKey)) {
    throw new PosternError(
      'ERR_IDENTITY_KEY',
      `The private key is not the one of the certificate of ${id.value.uri}. If files are renewed one by one, write the key first; otherwise issue both anew.`,
    )
  }
  return {
    id: id.value,
    certificatePem: certificates.map(({ x509 }) => x509.toString()).join(''),
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    facts: { ...first.facts.certificate, issuerKeyId: first.facts.extensions.authorityKeyId },
    chain,
  }
}

function readCertificate(der: Buffer, index: number): { readonly x509: X509Certificate; readonly facts: LeafFacts } {
  const facts = readLeafFacts(der)
  if (!facts.ok) throw unusable(`certificate ${index + 1} in it cannot be read (${facts.reason}: ${facts.detail})`)
  try {
    return { x509: new X509Certificate(der), facts: facts.value }
  } catch (cause) {
    throw unusable(`OpenSSL cannot parse certificate ${index + 1} in it`, cause)
  }
}

function readKey(keyPem: string): KeyObject {
  try {
    return createPrivateKey(keyPem)
  } catch (cause) {
    const hint = keyPem.includes('ENCRYPTED') ? 'It is encrypted; give it without a passphrase' : 'Give it as unencrypted PKCS#8 PEM'
    throw new PosternError('ERR_IDENTITY_KEY', `The private key cannot be read. ${hint}.`, { cause })
  }
}

function isIssuedBy(child: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return child.checkIssued(issuer) && child.verify(issuer.publicKey)
  } catch {
    return false
  }
}

function unusable(why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_IDENTITY_CERTIFICATE', `Our own certificate cannot be used: ${why}.`, { cause })
}
