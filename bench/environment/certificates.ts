/** One trust domain for all contenders: a root, an intermediate, the server's SVID and the caller's. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'

export const TRUST_DOMAIN = 'bench.example'
export const CALLER_ID = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`
export const SERVER_ID = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/catalog`

/** Absolute paths of PEM files. Certificates: leaf, then intermediate. */
export interface Certificates {
  readonly server: { readonly certificate: string; readonly key: string; readonly both: string }
  readonly client: { readonly certificate: string; readonly key: string }
  readonly bundle: string
  /** Replaces the server's SVID by a new one of the same authority, each file at once. */
  renewServer(): Promise<void>
}

const DAY = 86_400_000

export async function makeCertificates(folder: string): Promise<Certificates> {
  mkdirSync(folder, { recursive: true })
  const write = (name: string, text: string): string => {
    const file = join(folder, name)
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
    return file
  }
  const now = Date.now()
  const span = { trustDomain: TRUST_DOMAIN, notBefore: now - 60_000, notAfter: now + DAY }
  const root = await createAuthority({ ...span, kind: 'root' })
  const issuer = await createAuthority({ ...span, kind: 'intermediate', issuer: root })
  const issue = async (name: string, id: string): Promise<Certificates['server']> => {
    const { certificatePem, keyPem = '' } = await issueSvid({ authority: issuer, id, now, ttl: DAY })
    const certificate = write(`${name}.pem`, certificatePem)
    return { certificate, key: write(`${name}-key.pem`, keyPem), both: write(`${name}-both.pem`, certificatePem + keyPem) }
  }
  return {
    server: await issue('server', SERVER_ID),
    client: await issue('client', CALLER_ID),
    bundle: write('bundle.pem', root.certificatePem),
    async renewServer() {
      await issue('server', SERVER_ID)
    },
  }
}
