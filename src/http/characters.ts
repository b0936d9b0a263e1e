/** Classes of characters as tables indexed by code: what may stand in tokens and header values (RFC 9110 §5.5, §5.6.2). */

function table(allowed: (code: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (allowed(code) ? 1 : 0))
}

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39
const isLetter = (code: number): boolean => (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a)

/** 1 for tchar. Beyond 255 a lookup is undefined, which is not 1. */
export const TOKEN = table((code) => isDigit(code) || isLetter(code) || "!#$%&'*+-.^_`|~".includes(String.fromCharCode(code)))

/** 1 for what a header value may hold: HTAB, SP, VCHAR and obs-text. */
export const FIELD_VALUE = table((code) => code === 0x09 || (code >= 0x20 && code !== 0x7f))

/** 1 for what RFC 3986 §2.3 calls unreserved: an escape of it means the same as itself. */
export const UNRESERVED = table((code) => isDigit(code) || isLetter(code) || '-._~'.includes(String.fromCharCode(code)))

/** The value of a hexadecimal digit, else 255. */
export const HEX_VALUE = Uint8Array.from({ length: 256 }, (_, code) =>
  isDigit(code) ? code - 0x30 : isLetter(code) && (code | 0x20) <= 0x66 ? (code | 0x20) - 0x57 : 255,
)

export function isToken(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (TOKEN[text.charCodeAt(index)] !== 1) return false
  }
  return text !== ''
}
