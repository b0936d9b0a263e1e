/** Tells PKCS#12 from other DER, without loading what reads it. */

/** Whether DER looks like PKCS#12: SEQUENCE { INTEGER 3, SEQUENCE … }. */
export function looksLikePkcs12(der: Buffer): boolean {
  if (der[0] !== 0x30 || der.length < 12) return false
  const lengthByte = der[1] ?? 0
  const body = lengthByte <= 0x80 ? 2 : 2 + (lengthByte & 0x7f)
  return der.subarray(body, body + 4).equals(Buffer.from([0x02, 0x01, 0x03, 0x30]))
}
