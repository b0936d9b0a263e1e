/** Structural schemas of custom resources, as the API server applies them: what it prunes, and what it refuses. The words that ours use; any other is an error. */
type Json = Readonly<Record<string, unknown>>

const KNOWN: ReadonlySet<string> = new Set([
  ...['type', 'description', 'default', 'format', 'enum', 'pattern', 'required', 'properties', 'additionalProperties', 'items'],
  ...['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties', 'minimum', 'maximum'],
  ...['x-kubernetes-preserve-unknown-fields', 'x-kubernetes-validations', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys'],
])

/** The CEL of our schemas, in our words. */
const RULES: Readonly<Record<string, (self: Json) => boolean>> = {
  'has(self.allow) || has(self.deny)': (self) => self['allow'] !== undefined || self['deny'] !== undefined,
}

/** Without the fields that the schema does not name: the API server stores the rest. Defaults are put in. */
export function pruned(schema: Json, value: unknown): unknown {
  if (schema['x-kubernetes-preserve-unknown-fields'] === true) return value
  if (Array.isArray(value)) return value.map((item) => pruned((schema['items'] ?? {}) as Json, item))
  if (!isMembers(value)) return value
  const { properties = {}, additionalProperties } = schema as {
    readonly properties?: Readonly<Record<string, Json>>
    readonly additionalProperties?: Json
  }
  const kept = Object.entries(value).flatMap(([name, member]): [string, unknown][] => {
    const of = Object.hasOwn(properties, name) ? properties[name] : additionalProperties
    return of === undefined ? [] : [[name, pruned(of, member)]]
  })
  const defaults = Object.entries(properties).flatMap(([name, of]): [string, unknown][] =>
    of['default'] !== undefined && value[name] === undefined ? [[name, of['default']]] : [],
  )
  return Object.fromEntries([...kept, ...defaults])
}

/** What the API server would say, by path. */
export function faultsOf(schema: Json, value: unknown, path = ''): string[] {
  for (const word of Object.keys(schema)) if (!KNOWN.has(word)) throw new Error(`the schema's word ${word} is not known here`)
  const fault = (what: string): string[] => [`${path}: ${what}`]
  if (!isOfType(schema['type'], value)) return fault(`must be of type ${String(schema['type'])}`)
  const found: string[] = []
  const bound = (name: string, size: number, isLess: boolean): void => {
    const limit = schema[name]
    if (typeof limit === 'number' && (isLess ? size < limit : size > limit)) found.push(`${path}: ${name} ${limit}`)
  }
  if (Array.isArray(schema['enum']) && !schema['enum'].includes(value)) found.push(`${path}: none of ${schema['enum'].join(', ')}`)
  if (typeof value === 'string') {
    // In code points, as OpenAPI counts.
    const { length } = Array.from(value)
    bound('minLength', length, true)
    bound('maxLength', length, false)
    if (typeof schema['pattern'] === 'string' && !new RegExp(schema['pattern'], 'u').test(value))
      found.push(`${path}: ${schema['pattern']}`)
  }
  if (typeof value === 'number') {
    bound('minimum', value, true)
    bound('maximum', value, false)
  }
  if (Array.isArray(value)) {
    bound('minItems', value.length, true)
    bound('maxItems', value.length, false)
    found.push(...value.flatMap((item, index) => faultsOf((schema['items'] ?? {}) as Json, item, `${path}[${index}]`)))
  }
  if (isMembers(value)) found.push(...faultsOfMembers(schema, value, path, bound))
  return found
}

function faultsOfMembers(schema: Json, value: Json, path: string, bound: (name: string, size: number, isLess: boolean) => void): string[] {
  const names = Object.keys(value)
  bound('minProperties', names.length, true)
  bound('maxProperties', names.length, false)
  const {
    properties = {},
    required = [],
    additionalProperties,
  } = schema as {
    readonly properties?: Readonly<Record<string, Json>>
    readonly required?: readonly string[]
    readonly additionalProperties?: Json
  }
  const rules = (schema['x-kubernetes-validations'] ?? []) as readonly { readonly rule: string; readonly message: string }[]
  return [
    ...required.flatMap((name) => (value[name] === undefined ? [`${path}.${name}: Required value`] : [])),
    ...names.flatMap((name) => {
      const of = Object.hasOwn(properties, name) ? properties[name] : additionalProperties
      return of === undefined ? [] : faultsOf(of, value[name], `${path}.${name}`)
    }),
    ...rules.flatMap(({ rule, message }) => {
      const holds = RULES[rule]
      if (holds === undefined) throw new Error(`the rule ${rule} is not known here`)
      return holds(value) ? [] : [`${path}: ${message}`]
    }),
  ]
}

function isOfType(type: unknown, value: unknown): boolean {
  switch (type) {
    case undefined:
      return true
    case 'object':
      return isMembers(value)
    case 'array':
      return Array.isArray(value)
    case 'integer':
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}

function isMembers(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
