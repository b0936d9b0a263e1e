/** An intermediate under an existing PKI whose key stays with those who have it: a request goes out, a certificate comes back. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PosternError } from '#base/errors'
import { AUTHORITY_FILES, REFRESH_HINT } from '#certs-tooling/authority-folder'
import { makeFolder, type OutputFile, writeFiles } from '#certs-tooling/files'
import { shellWord } from '#certs-tooling/text'
import { bundleDocument } from '#pki/bundle-document'
import { createAuthorityCsr } from '#pki/csr'
import { generatePrivateKey, type KeyAlgorithm, privateKeyPem } from '#pki/keys'
import { certificatesPem } from '#pki/pem'
import { loadSigningAuthority } from '#pki/signing-authority'
import type { CommandIo, ExitStatus } from '../command.ts'

const REQUEST = 'intermediate.csr'

export interface RequestOptions {
  /** Absolute path of the folder of keys. */
  readonly keys: string
  /** The folder of the authority, as the user wrote it. */
  readonly shown: string
  readonly trustDomain: string
  readonly keyAlgorithm: KeyAlgorithm
  readonly io: CommandIo
}

/** Run again, it makes another key and request: until a certificate has come, nothing depends on them. */
export async function requestIntermediate({ keys, shown, trustDomain, keyAlgorithm, io }: RequestOptions): Promise<ExitStatus> {
  if (existsSync(join(keys, AUTHORITY_FILES.intermediate))) {
    throw new PosternError('ERR_AUTHORITY_EXISTS', `${shown} holds an authority already. Choose another folder.`)
  }
  const privateKey = await generatePrivateKey(keyAlgorithm)
  makeFolder(keys)
  writeFiles([
    { path: join(keys, AUTHORITY_FILES.intermediateKey), content: privateKeyPem(privateKey), mode: 0o600 },
    { path: join(keys, REQUEST), content: await createAuthorityCsr(privateKey, trustDomain), mode: 0o644 },
  ])
  const request = join(shown, 'keys', REQUEST)
  io.stdout.write(`${request}\n`)
  io.stderr.write(`
Next: have ${request} signed as an authority (CA:TRUE, path length 0 or more, keyCertSign) with the name
  URI:spiffe://${trustDomain}
and put its certificate and those above it, the root last, into one file. Then:
  postern ca init ${shellWord(shown)} --trust-domain ${trustDomain} --certificate signed.pem
`)
  return 0
}

export interface FinishOptions {
  readonly keys: string
  readonly trustDomain: string
  readonly certificatesPem: string
}

/** The files of the authority, its key aside, which is there. @throws ERR_AUTHORITY_UNUSABLE, ERR_FILE_UNREADABLE */
export function finishRequest({ keys, trustDomain, certificatesPem: chainPem }: FinishOptions): readonly OutputFile[] {
  const keyFile = join(keys, AUTHORITY_FILES.intermediateKey)
  if (!existsSync(keyFile)) throw new PosternError('ERR_FILE_UNREADABLE', `${keyFile} is not there: \`--csr\` makes it.`)
  const authority = loadSigningAuthority({ certificatesPem: chainPem, trustDomain, keyPem: readFileSync(keyFile, 'utf8') })
  const above = [...authority.chain.slice(1), authority.root]
  const file = (name: string, content: string): OutputFile => ({ path: join(keys, name), content, mode: 0o644 })
  return [
    file(AUTHORITY_FILES.root, certificatesPem(above)),
    file(AUTHORITY_FILES.intermediate, certificatesPem([authority.certificate])),
    file(AUTHORITY_FILES.bundlePem, certificatesPem([authority.root])),
    file(AUTHORITY_FILES.bundleJson, bundleDocument({ authorities: [authority.root], sequence: 1n, refreshHint: REFRESH_HINT })),
  ]
}
