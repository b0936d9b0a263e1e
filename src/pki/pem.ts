/** PEM text ↔ DER (RFC 7468). Strict on what is written, lenient on what stands between the blocks, as every tool is. */

export interface PemBlock {
  /** What stands after BEGIN: `CERTIFICATE`, `PRIVATE KEY`… */
  readonly label: string
  readonly der: Buffer
}

const BLOCK = /-----BEGIN ([A-Z0-9 #.]{1,64})-----([^-]*)-----END \1-----/g

/** Every block of a text, in order. Headers of legacy encrypted keys (`Proc-Type: 4,ENCRYPTED`) yield a block with an empty `der`. */
export function parsePem(text: string): PemBlock[] {
  return [...text.matchAll(BLOCK)].map(([, label = '', body = '']) => ({
    label,
    der: /^[A-Za-z0-9+/=\s]*$/.test(body) ? Buffer.from(body, 'base64') : Buffer.alloc(0),
  }))
}

/** The DER of every CERTIFICATE block, in order. */
export function certificatesOfPem(text: string): Buffer[] {
  return parsePem(text)
    .filter((block) => block.label === 'CERTIFICATE')
    .map((block) => block.der)
}

/** One block, lines of 64, with a newline at its end. */
export function formatPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('base64')
  return `-----BEGIN ${label}-----\n${base64.replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`
}

export function certificatesPem(certificates: readonly Uint8Array[]): string {
  return certificates.map((der) => formatPem('CERTIFICATE', der)).join('')
}
