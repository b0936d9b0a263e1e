/** What is being governed when nobody says so: what the documents themselves name, as long as they agree. */
import type { PolicyDocument, PolicyScope } from './document.ts'

export interface GivenScope {
  readonly service: string | undefined
  readonly labels: Readonly<Record<string, string>> | undefined
  readonly port: number | undefined
}

export interface AssumedScope {
  readonly scope: PolicyScope
  /** Port of the request. */
  readonly port: number
  /** What was taken from the documents, in words: `service catalog`. */
  readonly assumed: readonly string[]
  /** What must be said because the documents name several, in words: `service (cart, catalog)`. */
  readonly missing: readonly string[]
}

/** Completes what is given. A wrong guess would decide by other services' rules, so several names are no guess. */
export function assumeScope(documents: readonly PolicyDocument[], given: GivenScope): AssumedScope {
  const assumed: string[] = []
  const missing: string[] = []
  const choose = <T>(what: string, said: T | undefined, named: readonly T[], show: (value: T) => string): T | undefined => {
    const [only, second] = said === undefined ? named : []
    if (second !== undefined) missing.push(`${what} (${named.map(show).join(', ')})`)
    else if (only !== undefined) assumed.push(`${what} ${show(only)}`)
    return said ?? only
  }
  const services = unique(documents.map(({ target }) => target?.service))
  const service = choose('service', given.service, services, String)
  const ports = unique(documents.flatMap(({ target }) => target?.ports ?? []))
  const port = choose('port', given.port, ports, String) ?? 0
  const selectors = unique(documents.map(({ selector }) => (selector === undefined ? undefined : JSON.stringify(selector))))
  const labels = choose('labels', given.labels === undefined ? undefined : JSON.stringify(given.labels), selectors, (text) => text) ?? '{}'
  return { scope: { service, labels: JSON.parse(labels) as Record<string, string>, ports: [port] }, port, assumed, missing }
}

function unique<T>(values: readonly (T | undefined)[]): T[] {
  return [...new Set(values.filter((value) => value !== undefined))]
}

/** For a test: its own document's target, of which any port will do, unless the request says otherwise. */
export function scopeOfTest(document: PolicyDocument, given: GivenScope): PolicyScope {
  const { target } = document
  const one = target === undefined ? undefined : { service: target.service, ports: target.ports?.slice(0, 1) }
  return assumeScope([{ ...document, target: one }], given).scope
}
