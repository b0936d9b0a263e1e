/** Authorities between root and leaf for tests, right and wrong ones. */
import 'reflect-metadata'
import { KeyUsageFlags } from '@peculiar/x509'
import type { Authority } from '#pki/authority'
import { keyIdentifier, publicKeyOf } from '#pki/keys'
import { type CertificateFlaws, issueCertificate } from './authority.ts'
import { der, oid, sequence } from './der-writer.ts'

/** An intermediate below `authority`, with what `flaws` say changed. Its name is `intermediate` unless `subject` says another organization. */
export async function issueSigner(authority: Authority, flaws: CertificateFlaws = {}): Promise<Authority> {
  const subject = flaws.subject ?? [['O', 'intermediate']]
  const { certificate, certificatePem, keyPem, privateKey } = await issueCertificate({
    authority,
    uris: [`spiffe://${authority.trustDomain}`],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign },
    extendedKeyUsage: null,
    ...flaws,
    subject,
  })
  return {
    ...authority,
    certificate,
    certificatePem,
    keyPem,
    privateKey,
    chain: [certificate, ...authority.chain],
    subject: sequence(...subject.map(([, name]) => der(0x31, sequence(oid('2.5.4.10'), der(0x0c, name))))),
    keyId: flaws.subjectKeyId ?? keyIdentifier(publicKeyOf(privateKey)),
  }
}
