/** Texts of policies and of requests as the same thing, bytes: requests carry them as latin1 characters, policies as Unicode. */

/** The UTF-8 bytes of a text as latin1 characters, as header values come; the same string if it is ASCII. */
export function asBytes(text: string): string {
  return /^[\0-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
}

/** For people: bytes as the text they are if they are UTF-8, else as they are. */
export function asText(bytes: string): string {
  if (/^[\0-\x7f]*$/.test(bytes)) return bytes
  const text = Buffer.from(bytes, 'latin1').toString('utf8')
  return text.includes('\uFFFD') ? bytes : text
}

/** A query's parameters in order, names and values percent-decoded once, as bytes. `+` is a plus sign. */
export interface QueryParameters {
  readonly names: readonly string[]
  readonly values: readonly string[]
}

export function parseQuery(query: string): QueryParameters {
  const names: string[] = []
  const values: string[] = []
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    names.push(decodeOnce(equals === -1 ? pair : pair.slice(0, equals)))
    values.push(equals === -1 ? '' : decodeOnce(pair.slice(equals + 1)))
  }
  return { names, values }
}

/** What is no escape stays as it is. */
function decodeOnce(text: string): string {
  if (!text.includes('%')) return text
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
