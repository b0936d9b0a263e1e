/** Headers as they came: an ordered multimap with lower-case names, kept as two parallel arrays. */

export interface HeaderList {
  /** Lower-case. */
  readonly names: string[]
  /** One per name; bytes as latin1 characters, outer whitespace removed. */
  readonly values: string[]
}

export function createHeaderList(): HeaderList {
  return { names: [], values: [] }
}

/** The first value under a lower-case name. */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  const index = headers.names.indexOf(name)
  return index === -1 ? undefined : headers.values[index]
}

/** Every value under a lower-case name, in order. */
export function headerValues(headers: HeaderList, name: string): string[] {
  const found: string[] = []
  for (let index = headers.names.indexOf(name); index !== -1; index = headers.names.indexOf(name, index + 1)) {
    found.push(headers.values[index] ?? '')
  }
  return found
}

export function addHeader(headers: HeaderList, name: string, value: string): void {
  headers.names.push(name)
  headers.values.push(value)
}

/** A new list of both. */
export function joinHeaders(first: HeaderList, second: HeaderList): HeaderList {
  return { names: [...first.names, ...second.names], values: [...first.values, ...second.values] }
}
