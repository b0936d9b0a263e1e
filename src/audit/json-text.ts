/** Strings of strangers as JSON in plain ASCII: escaped, and harmless to whoever reads a log on a terminal. */

/** Printable ASCII without `"` and `\`: what may stand between quotes as it is. */
const PLAIN = /^[ !#-[\]-~]*$/
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const NOT_ASCII = /[\u007f-\uffff]/g

/** The inside of a JSON string, without its quotes. */
export function jsonText(text: string): string {
  return PLAIN.test(text) ? text : escaped(text)
}

/** The same for what came in a head, where each character stands for a byte: read as UTF-8 where it is, else as Latin-1. */
export function jsonHeadText(text: string): string {
  return PLAIN.test(text) ? text : escaped(decoded(text))
}

/** Half of a surrogate pair is U+FFFD: some readers of JSON refuse it even escaped. */
function escaped(text: string): string {
  return JSON.stringify(text.toWellFormed())
    .slice(1, -1)
    .replace(NOT_ASCII, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function decoded(text: string): string {
  if (/[^\u0000-\u00ff]/.test(text)) return text
  try {
    return UTF8.decode(Buffer.from(text, 'latin1'))
  } catch {
    return text
  }
}
