/** Strings of strangers as JSON: escaped, bounded, and harmless to whoever reads a log on a terminal. */

const LAST_PLAIN = 0x7e
const QUOTE = 0x22
const BACKSLASH = 0x5c
/** C1 controls, DEL, line and paragraph separators, marks that turn the direction of text, byte order mark. */
const MISLEADING = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** Whether a string may stand between quotes as it is: printable ASCII without `"` and `\`. */
export function isPlain(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code < 0x20 || code > LAST_PLAIN || code === QUOTE || code === BACKSLASH) return false
  }
  return true
}

/** The inside of a JSON string, without its quotes. */
export function jsonText(text: string): string {
  return isPlain(text) ? text : escaped(text)
}

/** The same for what came in a head, where each character stands for a byte: read as UTF-8 where it is, else as Latin-1. */
export function jsonHeadText(text: string): string {
  return isPlain(text) ? text : escaped(decoded(text))
}

function escaped(text: string): string {
  return JSON.stringify(text.toWellFormed())
    .slice(1, -1)
    .replace(MISLEADING, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function decoded(text: string): string {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0xff) return text
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(text, 'latin1'))
  } catch {
    return text
  }
}
