/** Certificate requests that ask for anything, right or wrong. */
import 'reflect-metadata'
import { sign, type KeyObject } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { publicKeyOf, spkiOf } from '#pki/keys'
import { signingKeyOf } from '#pki/sign-certificate'
import { der, oid, sequence } from './der-writer.ts'

export interface CsrWishes {
  readonly subject?: string
  readonly extensions?: readonly x509.Extension[]
  readonly attributes?: readonly x509.Attribute[]
}

/** By @peculiar/x509. @returns DER */
export async function wishfulCsr(privateKey: KeyObject, { subject = '', extensions = [], attributes = [] }: CsrWishes): Promise<Buffer> {
  const { key, hash } = signingKeyOf(privateKey)
  const publicKey = publicKeyOf(privateKey).toCryptoKey({ ...key.algorithm, hash }, true, ['verify'])
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys: { privateKey: key, publicKey },
    signingAlgorithm: { name: key.algorithm.name, hash },
    extensions: [...extensions],
    attributes: [...attributes],
  })
  return Buffer.from(request.rawData)
}

export interface RawCsr {
  readonly version?: number
  readonly subject?: Buffer
  readonly spki?: Buffer
  /** What stands in [0]; `undefined` leaves the field out. */
  readonly attributes?: Buffer | undefined
  readonly signature?: Buffer
}

/** Octet by octet. @returns DER */
export function rawCsr(privateKey: KeyObject, raw: RawCsr = {}): Buffer {
  const { version = 0, subject = sequence(), spki = spkiOf(privateKey) } = raw
  const attributes = 'attributes' in raw ? raw.attributes : Buffer.alloc(0)
  const info = sequence(der(0x02, Buffer.of(version)), subject, spki, ...(attributes === undefined ? [] : [der(0xa0, attributes)]))
  const signature = raw.signature ?? sign('sha256', info, privateKey)
  return sequence(info, sequence(oid('1.2.840.10045.4.3.2')), der(0x03, Buffer.of(0), signature))
}

/** The attribute that asks for extensions: their DER in a row. */
export function extensionRequest(...extensions: readonly Buffer[]): Buffer {
  return sequence(oid('1.2.840.113549.1.9.14'), der(0x31, sequence(...extensions)))
}
