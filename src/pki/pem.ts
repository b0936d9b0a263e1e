/** PEM text ↔ DER (RFC 7468). Strict on what is written, lenient on what stands between the blocks, as every tool is. */

export interface PemBlock {
  /** What stands after BEGIN: `CERTIFICATE`, `PRIVATE KEY`… */
  readonly label: string
  /** Empty where the block holds anything but base64, as legacy encrypted keys do (`Proc-Type: 4,ENCRYPTED`). */
  readonly der: Buffer
  /** The block as it stands. */
  readonly text: string
}

const BOUNDARY = /-----(BEGIN|END) ([A-Z0-9 #.]{1,64})-----/g

/** Every whole block of a text, in order; a BEGIN that its own END does not follow is passed over. */
export function parsePem(text: string): PemBlock[] {
  const blocks: PemBlock[] = []
  let begin: RegExpExecArray | undefined
  for (const boundary of text.matchAll(BOUNDARY)) {
    const [mark, kind, label = ''] = boundary
    if (kind === 'END' && begin?.[2] === label) {
      const body = text.slice(begin.index + begin[0].length, boundary.index)
      const der = /^[A-Za-z0-9+/=\s]*$/.test(body) ? Buffer.from(body, 'base64') : Buffer.alloc(0)
      blocks.push({ label, der, text: `${text.slice(begin.index, boundary.index)}${mark}\n` })
    }
    begin = kind === 'BEGIN' ? boundary : undefined
  }
  return blocks
}

/** A block begins in `text` that is not among its `blocks`: it is broken off, or its end names another kind. */
export function hasBrokenBlock(text: string, blocks: readonly PemBlock[]): boolean {
  return text.split('-----BEGIN ').length - 1 !== blocks.length
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
