/** Small readers from located values to typed ones. Each reports what it refuses, with its place, and goes on: one run finds every fault. */
import type { LocatedValue, Location, Problem } from '#base/located'
import type { ReasonCode } from '#base/reasons'
import { nearest } from '#base/suggest'

/** Where a reader stands: `path` is what messages call the value, e.g. `spec.inbound[0].listen`. */
export interface Place {
  readonly path: string
  /** What relative paths are relative to. */
  readonly folder: string
  readonly problems: Problem[]
}

export interface Reader<out T> {
  /** The typed value, or undefined after at least one problem was reported. */
  readonly read: (value: LocatedValue, place: Place) => T | undefined
  /** The keys of a map, for suggestions and for the test that holds the documentation to them. */
  readonly fields?: Fields
  /** What the elements of a list, or the values of a map with names of the user's choosing, are read by. */
  readonly item?: Reader<unknown>
  /** How key paths write an element: `[]` unless said. */
  readonly itemPath?: '[]' | '.*'
}

interface Field<out T> {
  readonly reader: Reader<T>
  readonly required: boolean
  /** What an absent key means. */
  readonly fallback: T | undefined
}

export type Fields = Readonly<Record<string, Field<unknown>>>
type Values<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never }

export function required<T>(reader: Reader<T>): Field<T> {
  return { reader, required: true, fallback: undefined }
}

export function optional<T>(reader: Reader<T>): Field<T | undefined>
export function optional<T>(reader: Reader<T>, fallback: T): Field<T>
export function optional<T>(reader: Reader<T>, fallback?: T): Field<T | undefined> {
  return { reader, required: false, fallback }
}

/** Reports an error and is undefined, so that a reader can return it. */
export function complain(place: Place, at: Location, code: ReasonCode, message: string, suggestion?: string): undefined {
  place.problems.push({ severity: 'error', code, message, at, ...(suggestion === undefined ? {} : { suggestion }) })
  return undefined
}

export function refuseValue(place: Place, value: LocatedValue, form: string, suggestion?: string): undefined {
  return complain(place, value.at, 'ERR_CONFIG_VALUE', `\`${place.path}\` must be ${form}, not ${nameValue(value)}.`, suggestion)
}

function nameValue(value: LocatedValue): string {
  if (value.kind !== 'scalar') return `a ${value.kind}`
  if (value.value === null) return 'empty'
  const text = String(value.value)
  return `\`${text.length > 60 ? `${text.slice(0, 57)}…` : text}\``
}

/** A map with exactly these keys. Undefined if any of them is missing, refused or unknown. */
export function map<F extends Fields>(fields: F): Reader<Values<F>> {
  return { fields, read: (value, place) => readMap(fields, value, place) as Values<F> | undefined }
}

type Choice<F extends Fields> = { readonly [K in keyof F]: Values<F>[K] | undefined }

/** A map with exactly one of these keys; the values of the others are undefined. */
export function exactlyOne<F extends Fields>(fields: F): Reader<Choice<F>> {
  const words = Object.keys(fields)
    .map((word) => `\`${word}\``)
    .join(', ')
  const optionalFields = Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, { ...field, required: false }]))
  return {
    fields: optionalFields,
    read(value, place) {
      const before = place.problems.length
      const read = readMap(optionalFields, value, place)
      if (value.kind !== 'map') return undefined
      const given = value.entries.filter(({ key }) => Object.hasOwn(fields, key))
      const [first, second] = given
      if (first === undefined) {
        // A key that is unknown was probably meant to be the one.
        if (place.problems.length > before) return undefined
        return complain(place, value.at, 'ERR_CONFIG_MISSING_KEY', `\`${place.path}\` must have one of ${words}.`)
      }
      if (second === undefined) return read as Choice<F> | undefined
      const message = `\`${place.path}\` has both \`${first.key}\` and \`${second.key}\`; give exactly one of ${words}.`
      return complain(place, second.keyAt, 'ERR_CONFIG_VALUE', message)
    },
  }
}

function readMap(fields: Fields, value: LocatedValue, place: Place): Record<string, unknown> | undefined {
  if (value.kind !== 'map') return refuseValue(place, value, `a map of ${listWords(Object.keys(fields))}`)
  const before = place.problems.length
  const result: Record<string, unknown> = {}
  const seen = new Set<string>()
  for (const { key, keyAt, value: inner } of value.entries) {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined
    if (field === undefined) {
      const where = place.path === '' ? 'The document' : `\`${place.path}\``
      complain(place, keyAt, 'ERR_CONFIG_UNKNOWN_KEY', `${where} has no key \`${key}\`.`, nearest(key, Object.keys(fields)))
      continue
    }
    seen.add(key)
    result[key] = field.reader.read(inner, { ...place, path: join(place.path, key) })
  }
  for (const [key, field] of Object.entries(fields)) {
    if (seen.has(key)) continue
    if (field.required) complain(place, value.at, 'ERR_CONFIG_MISSING_KEY', `\`${join(place.path, key)}\` is missing.`)
    result[key] = field.fallback
  }
  return place.problems.length === before ? result : undefined
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** `a`, `b` and `c`. */
function listWords(words: readonly string[]): string {
  const quoted = words.map((word) => `\`${word}\``)
  return quoted.length < 2 ? quoted.join('') : `${quoted.slice(0, -1).join(', ')} and ${quoted.at(-1)}`
}

/** A list. Undefined if any element is refused. */
export function list<T>(item: Reader<T>): Reader<readonly T[]> {
  return {
    item,
    read(value, place) {
      if (value.kind !== 'list') return refuseValue(place, value, 'a list')
      const read = value.items.map((element, index) => item.read(element, { ...place, path: `${place.path}[${index}]` }))
      return allRead(read)
    },
  }
}

/** One, or a list of at least one. */
export function oneOrMore<T>(item: Reader<T>): Reader<readonly T[]> {
  return {
    item,
    read(value, place) {
      if (value.kind === 'list') {
        return value.items.length === 0 ? refuseValue(place, value, 'one or a list of at least one') : list(item).read(value, place)
      }
      const one = item.read(value, place)
      return one === undefined ? undefined : [one]
    },
  }
}

/** A map from names of the user's choosing. `name` is why a name is refused, or undefined. */
export function named<T>(item: Reader<T>, refuseName: (name: string) => string | undefined): Reader<readonly (readonly [string, T])[]> {
  return {
    item,
    itemPath: '.*',
    read(value, place) {
      if (value.kind !== 'map') return refuseValue(place, value, 'a map')
      const read = value.entries.map(({ key, keyAt, value: inner }): readonly [string, T] | undefined => {
        const wrong = refuseName(key)
        const element = item.read(inner, { ...place, path: `${place.path}.${key}` })
        if (wrong !== undefined) return complain(place, keyAt, 'ERR_CONFIG_VALUE', `\`${place.path}\`: ${wrong}.`)
        return element === undefined ? undefined : [key, element]
      })
      return allRead(read)
    },
  }
}

function allRead<T>(read: readonly (T | undefined)[]): readonly T[] | undefined {
  const present = read.filter((element) => element !== undefined)
  return present.length === read.length ? present : undefined
}

/** Every key path under a reader: `spec.inbound[].listen`, `spec.federation.*.bundle`. */
export function keyPaths(reader: Reader<unknown>, prefix = ''): string[] {
  if (reader.item !== undefined) return keyPaths(reader.item, `${prefix}${reader.itemPath ?? '[]'}`)
  return Object.entries(reader.fields ?? {}).flatMap(([key, field]) => {
    const path = join(prefix, key)
    return [path, ...keyPaths(field.reader, path)]
  })
}
