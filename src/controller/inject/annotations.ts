/** What a pod's author may choose about its sidecar: an allow-list of annotations, each value checked. Anything else under the prefix is refused. */
import { nearest } from '#base/suggest'

export const PREFIX = 'postern.dev/'

export type Interception = 'redirect' | 'loopback'
export type PortProtocol = 'http1' | 'http2' | 'both' | 'tcp'
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export interface Choices {
  /** Undefined: the ports that the containers declare. */
  readonly ports: readonly number[] | undefined
  readonly skipPorts: readonly number[]
  readonly protocols: ReadonlyMap<number, PortProtocol>
  readonly interception: Interception | undefined
  readonly logLevel: LogLevel | undefined
  readonly service: string | undefined
  readonly passThrough: 'allow' | 'refuse' | undefined
  readonly excludeOutboundPorts: readonly number[]
  /** Calls by loopback ports, for pods whose calls nothing redirects. */
  readonly outbound: readonly OutboundChoice[]
  readonly resources: Readonly<Partial<Record<ResourceName, string>>>
}

/** `7101=catalog.shop:80@catalog`: what the app calls at 127.0.0.1:7101 goes there, to a pod that runs as that account of that namespace. */
export interface OutboundChoice {
  readonly listen: number
  /** Of one pod of a StatefulSet: `db-0.db`. */
  readonly service: string
  readonly namespace: string
  readonly port: number
  readonly account: string
}

export type ResourceName = 'cpu-request' | 'cpu-limit' | 'memory-request' | 'memory-limit'

/** Written by the injector itself. */
export const OWN = { document: `${PREFIX}sidecar`, injected: `${PREFIX}injected` } as const

/** Known by label or elsewhere, and therefore no mistake. */
const ELSEWHERE: ReadonlySet<string> = new Set([OWN.document, OWN.injected, `${PREFIX}inject`])

const INTERCEPTIONS = ['redirect', 'loopback'] as const
const PROTOCOLS = ['http1', 'http2', 'both', 'tcp'] as const
const LEVELS = ['debug', 'info', 'warn', 'error'] as const
/** Kubernetes' own rule for quantities, without exponents. */
const QUANTITY = { cpu: /^\d+m?$|^\d+\.\d{1,3}$/, memory: /^\d+(?:[kMGT]|[KMGT]i)?$/ }
const DNS_LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/

type Complain = (message: string) => undefined

/** @returns the choices, or in sentences what is wrong with them */
export function readAnnotations(annotations: Readonly<Record<string, string>>): Choices | readonly string[] {
  const problems: string[] = []
  const seen = new Set<string>()
  function read<T>(name: string, reader: (text: string, complain: Complain) => T | undefined): T | undefined {
    seen.add(PREFIX + name)
    const text = annotations[PREFIX + name]
    if (text === undefined) return undefined
    return reader(text.trim(), (message) => void problems.push(`the annotation \`${PREFIX}${name}\` is \`${text}\`: ${message}`))
  }
  const resource = (name: ResourceName): Partial<Record<ResourceName, string>> => {
    const kind = name.startsWith('cpu') ? 'cpu' : 'memory'
    const text = read(name, (value, complain) =>
      QUANTITY[kind].test(value) ? value : complain(`write a quantity such as \`${kind === 'cpu' ? '100m' : '128Mi'}\`.`),
    )
    return text === undefined ? {} : { [name]: text }
  }
  const choices: Choices = {
    ports: read('ports', readPorts),
    skipPorts: read('skip-ports', readPorts) ?? [],
    protocols: read('protocols', readProtocols) ?? new Map<number, PortProtocol>(),
    interception: read('interception', oneOf(INTERCEPTIONS)),
    logLevel: read('log-level', oneOf(LEVELS)),
    service: read('service', (text, complain) =>
      DNS_LABEL.test(text) ? text : complain('write the name of a service, such as `catalog`.'),
    ),
    passThrough: read('pass-through', oneOf(['allow', 'refuse'] as const)),
    excludeOutboundPorts: read('exclude-outbound-ports', readPorts) ?? [],
    outbound: read('outbound', readOutbound) ?? [],
    resources: { ...resource('cpu-request'), ...resource('cpu-limit'), ...resource('memory-request'), ...resource('memory-limit') },
  }
  for (const name of Object.keys(annotations)) {
    if (!name.startsWith(PREFIX) || seen.has(name) || ELSEWHERE.has(name)) continue
    const meant = nearest(name, [...seen])
    problems.push(`there is no annotation \`${name}\`${meant === undefined ? '.' : `; did you mean \`${meant}\`?`}`)
  }
  return problems.length > 0 ? problems : choices
}

function oneOf<T extends string>(values: readonly T[]): (text: string, complain: Complain) => T | undefined {
  return (text, complain) =>
    values.find((value) => value === text) ?? complain(`write ${values.map((value) => `\`${value}\``).join(' or ')}.`)
}

function readPorts(text: string, complain: Complain): readonly number[] | undefined {
  const ports = text.split(',').flatMap((part) => (part.trim() === '' ? [] : [readPort(part)]))
  const valid = ports.filter((port) => port !== undefined)
  return valid.length === ports.length ? valid : complain('write ports with commas between them, such as `8080,9090`.')
}

function readPort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text.trim()) ? Number(text) : 0
  return port >= 1 && port <= 65_535 ? port : undefined
}

function readProtocols(text: string, complain: Complain): ReadonlyMap<number, PortProtocol> | undefined {
  const protocols = new Map<number, PortProtocol>()
  for (const part of text.split(',')) {
    const [portText = '', name = ''] = part.split('=')
    const port = readPort(portText)
    const protocol = PROTOCOLS.find((known) => known === name.trim())
    if (port === undefined || protocol === undefined) {
      return complain('write `8080=http2,5432=tcp`; the protocols are `http1`, `http2`, `both` and `tcp`.')
    }
    protocols.set(port, protocol)
  }
  return protocols
}

const OUTBOUND =
  /^(\d{1,5})=((?:[a-z0-9][-a-z0-9]{0,62}\.)?[a-z0-9][-a-z0-9]{0,62})\.([a-z0-9][-a-z0-9]{0,62}):(\d{1,5})@([a-z0-9][-a-z0-9.]{0,252})$/

function readOutbound(text: string, complain: Complain): readonly OutboundChoice[] | undefined {
  const found: OutboundChoice[] = []
  for (const part of text.split(',')) {
    const [, own = '', service = '', namespace = '', its = '', account = ''] = OUTBOUND.exec(part.trim()) ?? []
    const listen = readPort(own)
    const port = readPort(its)
    if (listen === undefined || port === undefined) {
      return complain(
        'write `7101=catalog.shop:80@catalog`: a port of 127.0.0.1, then SERVICE.NAMESPACE:PORT, then the service account that its pods run as.',
      )
    }
    if (found.some((other) => other.listen === listen)) return complain(`give the port ${listen} only once.`)
    found.push({ listen, service, namespace, port, account })
  }
  return found
}
