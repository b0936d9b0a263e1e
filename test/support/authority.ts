/** Authorities and certificates for tests: right ones in a line, and wrong ones on purpose. */
import 'reflect-metadata'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'
import { type Authority, createAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import { generatePrivateKey, type KeyAlgorithm, keyIdentifier, privateKeyPem, publicKeyOf } from '#pki/keys'
import { certificatesPem } from '#pki/pem'
import { type NameParts, randomSerial, signCertificate } from '#pki/sign-certificate'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Files of one workload, as PEM texts. */
export interface TestSvid {
  readonly id: string
  /** Leaf, then intermediates. */
  readonly certificatePem: string
  readonly keyPem: string
  readonly bundlePem: string
  /** The leaf, DER. */
  readonly certificate: Buffer
  /** Leaf and intermediates, DER. */
  readonly chain: readonly Buffer[]
}

export interface TestIssueOptions {
  /** Ms; 1 h unless said. */
  readonly ttl?: number
  /** Ms since the epoch; the real time unless said. */
  readonly now?: number
  readonly keyAlgorithm?: KeyAlgorithm
  readonly dnsNames?: readonly string[]
  readonly emptySubject?: boolean
}

export interface SvidFiles {
  readonly certificate: string
  readonly key: string
  readonly bundle: string
}

export interface TestMesh {
  readonly trustDomain: string
  readonly root: Authority
  /** The root itself where the mesh was made without an intermediate. */
  readonly issuer: Authority
  readonly bundlePem: string
  /** @param path `/ns/shop/sa/cart` */
  readonly issue: (path: string, options?: TestIssueOptions) => Promise<TestSvid>
  /** A wrong one: see `CertificateFlaws`. */
  readonly issueFlawed: (flaws: CertificateFlaws) => Promise<TestSvid>
  /** Issues and writes svid.pem, key.pem and bundle.pem into `dir`, which is made if need be. */
  readonly writeTo: (dir: string, path: string, options?: TestIssueOptions) => Promise<SvidFiles>
}

export interface TestMeshOptions {
  /** True unless said. */
  readonly intermediate?: boolean
  /** Ms since the epoch; the real time unless said. */
  readonly now?: number
  /** Of both authorities. */
  readonly keyAlgorithm?: KeyAlgorithm
}

/** A trust domain in memory: a root of 10 days, an intermediate of 5; some 5 ms. */
export async function createTestMesh(trustDomain = 'example.org', options: TestMeshOptions = {}): Promise<TestMesh> {
  const now = options.now ?? Date.now()
  const common = { trustDomain, notBefore: now - HOUR, ...(options.keyAlgorithm && { keyAlgorithm: options.keyAlgorithm }) }
  const root = await createAuthority({ ...common, kind: 'root', notAfter: now + 10 * DAY })
  const issuer =
    options.intermediate === false
      ? root
      : await createAuthority({ ...common, kind: 'intermediate', issuer: root, notAfter: now + 5 * DAY })
  const bundlePem = root.certificatePem

  const issue: TestMesh['issue'] = async (path, { ttl = HOUR, now = Date.now(), ...rest } = {}) => {
    const id = `spiffe://${trustDomain}${path}`
    const svid = await issueSvid({ authority: issuer, id, now, ttl, ...rest })
    return {
      id,
      certificatePem: svid.certificatePem,
      keyPem: svid.keyPem!,
      bundlePem,
      certificate: svid.certificate,
      chain: [svid.certificate, ...issuer.chain],
    }
  }
  return {
    trustDomain,
    root,
    issuer,
    bundlePem,
    issue,
    async issueFlawed(flaws) {
      const { certificate, keyPem } = await issueCertificate({ authority: issuer, ...flaws })
      const chain = [certificate, ...issuer.chain]
      return { id: flaws.uris?.[0] ?? defaultId(issuer), certificatePem: certificatesPem(chain), keyPem, bundlePem, certificate, chain }
    },
    async writeTo(dir, path, options) {
      return writeSvid(dir, await issue(path, options))
    },
  }
}

/** Writes svid.pem, key.pem (0600) and bundle.pem. */
export function writeSvid(dir: string, svid: TestSvid): SvidFiles {
  mkdirSync(dir, { recursive: true })
  const files = { certificate: join(dir, 'svid.pem'), key: join(dir, 'key.pem'), bundle: join(dir, 'bundle.pem') }
  writeFileSync(files.certificate, svid.certificatePem)
  writeFileSync(files.key, svid.keyPem, { mode: 0o600 })
  writeFileSync(files.bundle, svid.bundlePem)
  return files
}

/** What may be wrong with a certificate. Whatever is not said is as in a right SVID; `null` leaves an extension out. */
export interface CertificateFlaws {
  /** URI SANs in this order; `[]` for none. */
  readonly uris?: readonly string[]
  readonly dnsNames?: readonly string[]
  readonly emails?: readonly string[]
  readonly sanCritical?: boolean
  /** Replaces the whole SAN extension. */
  readonly san?: x509.Extension | null
  readonly subject?: NameParts
  readonly issuerName?: NameParts
  readonly serial?: string
  readonly notBefore?: number
  readonly notAfter?: number
  readonly basicConstraints?: { readonly ca: boolean; readonly pathLength?: number; readonly critical?: boolean } | null
  readonly keyUsage?: { readonly usages: x509.KeyUsageFlags; readonly critical?: boolean } | null
  /** OIDs, e.g. `x509.ExtendedKeyUsage.clientAuth`. */
  readonly extendedKeyUsage?: readonly string[] | null
  readonly subjectKeyId?: string | null
  readonly authorityKeyId?: string | null
  readonly extraExtensions?: readonly x509.Extension[]
  readonly keyAlgorithm?: KeyAlgorithm
  readonly privateKey?: KeyObject
  /** Signs in the authority's stead: a forgery under its name. */
  readonly signer?: KeyObject
  /** The certificate is signed with its own key, under its own name. */
  readonly selfSigned?: boolean
}

export interface FlawedCertificate {
  /** DER. */
  readonly certificate: Buffer
  readonly certificatePem: string
  readonly privateKey: KeyObject
  readonly keyPem: string
}

/** Makes any certificate, right or wrong: an SVID with what `flaws` say changed. */
export async function issueCertificate({
  authority,
  ...flaws
}: { readonly authority: Authority } & CertificateFlaws): Promise<FlawedCertificate> {
  const now = Date.now()
  const privateKey = flaws.privateKey ?? (await generatePrivateKey(flaws.keyAlgorithm))
  const publicKey = publicKeyOf(privateKey)
  const subject = flaws.subject ?? [['O', authority.trustDomain]]
  const certificate = await signCertificate(
    {
      serial: flaws.serial ?? randomSerial(),
      subject,
      issuer: flaws.issuerName ?? (flaws.selfSigned === true ? subject : authority.subject),
      notBefore: flaws.notBefore ?? now - 60_000,
      notAfter: flaws.notAfter ?? now + HOUR,
      publicKey,
      extensions: extensionsOf(authority, publicKey, flaws),
    },
    flaws.signer ?? (flaws.selfSigned === true ? privateKey : authority.privateKey),
  )
  return { certificate, certificatePem: certificatesPem([certificate]), privateKey, keyPem: privateKeyPem(privateKey) }
}

function extensionsOf(authority: Authority, publicKey: KeyObject, flaws: CertificateFlaws): x509.Extension[] {
  const list: (x509.Extension | undefined)[] = []
  const basic = flaws.basicConstraints === undefined ? { ca: false } : flaws.basicConstraints
  if (basic) list.push(new x509.BasicConstraintsExtension(basic.ca, basic.pathLength, basic.critical ?? true))
  const usage = flaws.keyUsage === undefined ? { usages: x509.KeyUsageFlags.digitalSignature } : flaws.keyUsage
  if (usage) list.push(new x509.KeyUsagesExtension(usage.usages, usage.critical ?? true))
  const extended =
    flaws.extendedKeyUsage === undefined ? [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth] : flaws.extendedKeyUsage
  if (extended) list.push(new x509.ExtendedKeyUsageExtension([...extended]))
  const ownKeyId = keyIdentifier(publicKey)
  if (flaws.subjectKeyId !== null) list.push(new x509.SubjectKeyIdentifierExtension(flaws.subjectKeyId ?? ownKeyId))
  const issuerKeyId = flaws.selfSigned === true ? ownKeyId : authority.keyId
  if (flaws.authorityKeyId !== null) list.push(new x509.AuthorityKeyIdentifierExtension(flaws.authorityKeyId ?? issuerKeyId))
  if (flaws.san !== null) list.push(flaws.san ?? sanOf(authority, flaws))
  return [...list.filter((extension) => extension !== undefined), ...(flaws.extraExtensions ?? [])]
}

function sanOf(authority: Authority, flaws: CertificateFlaws): x509.Extension | undefined {
  const names = [
    ...(flaws.uris ?? [defaultId(authority)]).map((value) => ({ type: 'url' as const, value })),
    ...(flaws.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(flaws.emails ?? []).map((value) => ({ type: 'email' as const, value })),
  ]
  return names.length === 0 ? undefined : new x509.SubjectAlternativeNameExtension(names, flaws.sanCritical ?? flaws.subject?.length === 0)
}

function defaultId(authority: Authority): string {
  return `spiffe://${authority.trustDomain}/ns/shop/sa/cart`
}
