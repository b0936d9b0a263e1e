/**
 * An authority in a folder: what `certs init` makes, `certs issue` signs with, and `ca run` can take over.
 *
 *     root.pem          root-key.pem            the root; its key may be taken offline once the intermediate is made
 *     intermediate.pem  intermediate-key.pem    what signs; its certificate alone, without the root
 *     bundle.pem        bundle.json             what verifiers need: the root as PEM, and as SPIFFE JWKS
 */
import { join } from 'node:path'
import { PosternError } from '#base/errors'
import { type Authority, createAuthority, loadAuthority } from '#pki/authority'
import { bundleDocument } from '#pki/bundle-document'
import type { KeyAlgorithm } from '#pki/keys'
import { exists, type OutputFile, readFile } from './files.ts'

export const AUTHORITY_FILES = {
  rootKey: 'root-key.pem',
  root: 'root.pem',
  intermediateKey: 'intermediate-key.pem',
  intermediate: 'intermediate.pem',
  bundlePem: 'bundle.pem',
  bundleJson: 'bundle.json',
} as const

/** How often verifiers should ask for a newer bundle, seconds: SPIFFE's own default (Federation §4.1). */
export const REFRESH_HINT = 300

export interface NewAuthority {
  readonly root: Authority
  readonly intermediate: Authority
}

export interface NewAuthorityOptions {
  readonly trustDomain: string
  /** Ms since the epoch; both certificates begin a minute before. */
  readonly now: number
  /** Ms. */
  readonly rootTtl: number
  readonly intermediateTtl: number
  readonly keyAlgorithm?: KeyAlgorithm
}

export async function makeAuthority(options: NewAuthorityOptions): Promise<NewAuthority> {
  const { trustDomain, now, rootTtl, intermediateTtl, keyAlgorithm } = options
  const common = { trustDomain, notBefore: now - 60_000, ...(keyAlgorithm !== undefined && { keyAlgorithm }) }
  const root = await createAuthority({ ...common, kind: 'root', notAfter: now + rootTtl })
  const intermediate = await createAuthority({ ...common, kind: 'intermediate', issuer: root, notAfter: now + intermediateTtl })
  return { root, intermediate }
}

/** Its files in the order to write them: whoever sees a certificate finds its key. */
export function authorityFiles(folder: string, { root, intermediate }: NewAuthority): OutputFile[] {
  const file = (name: keyof typeof AUTHORITY_FILES, content: string): OutputFile => ({
    path: join(folder, AUTHORITY_FILES[name]),
    content,
    mode: name === 'rootKey' || name === 'intermediateKey' ? 0o600 : 0o644,
  })
  return [
    file('rootKey', root.keyPem),
    file('root', root.certificatePem),
    file('intermediateKey', intermediate.keyPem),
    file('intermediate', intermediate.certificatePem),
    file('bundlePem', root.certificatePem),
    file('bundleJson', bundleDocument({ authorities: [root.certificate], sequence: 1n, refreshHint: REFRESH_HINT })),
  ]
}

/** Names of the authority's files that are in the folder. */
export function filesPresent(folder: string): string[] {
  return Object.values(AUTHORITY_FILES).filter((name) => exists(join(folder, name)))
}

export interface AuthorityFolder {
  readonly signer: Authority
  readonly bundlePem: string
}

/**
 * Reads what is needed to sign. The root's key is not: it may be kept elsewhere.
 * @throws ERR_AUTHORITY_UNUSABLE, ERR_FILE_UNREADABLE, ERR_KEY_UNREADABLE
 */
export function readAuthorityFolder(folder: string, shown: string = folder): AuthorityFolder {
  if (!exists(join(folder, AUTHORITY_FILES.intermediate))) {
    throw new PosternError(
      'ERR_AUTHORITY_UNUSABLE',
      `${shown} holds no authority: there is no ${AUTHORITY_FILES.intermediate} in it. \`postern certs init ${shown} --trust-domain …\` makes one.`,
    )
  }
  const text = (name: keyof typeof AUTHORITY_FILES) => readFile(join(folder, AUTHORITY_FILES[name])).toString('utf8')
  const signer = loadAuthority({ certificatePem: text('intermediate'), keyPem: text('intermediateKey'), abovePem: text('root') })
  return { signer, bundlePem: text('bundlePem') }
}
