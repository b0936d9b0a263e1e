/** Whether a pod gets a sidecar, and with what: every reason why not is a sentence. */
import { type Choices, type Interception, OWN, type PortProtocol, PREFIX, readAnnotations } from './annotations.ts'
import type { Container, Pod } from './pod.ts'
import type { InjectionSettings } from './settings.ts'

export interface GuardedPort {
  readonly port: number
  readonly protocol: PortProtocol
}

/** What deciding needs to know of the mesh. */
export type DecisionSettings = Pick<InjectionSettings, 'namespace' | 'interception'>

/** What injection does to one pod. */
export interface Plan {
  readonly service: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly labels: Readonly<Record<string, string>>
  readonly interception: Interception
  /** In the order in which the sidecar listens for them: 7443, 7444, … */
  readonly ports: readonly GuardedPort[]
  readonly choices: Choices
  /** What the author should know, though it is no mistake. */
  readonly warnings: readonly string[]
}

export type InjectionVerdict =
  | { readonly kind: 'inject'; readonly plan: Plan }
  /** As it is. */
  | { readonly kind: 'leave'; readonly because: string }
  /** Something the author wrote cannot be done. */
  | { readonly kind: 'refuse'; readonly problems: readonly string[] }

/** Ports that a sidecar needs for itself. */
export const SIDECAR_PORTS = { inbound: 7443, outbound: 7001, health: 7020 } as const
export const MOST_PORTS = 64

/** Namespaces whose pods must come up without us. */
const SYSTEM: ReadonlySet<string> = new Set(['kube-system', 'kube-public', 'kube-node-lease'])

/**
 * @param namespace of the request: a template may not name its own
 * @param namespaceLabel value of `postern.dev/inject` on the namespace; `enabled` when a file is injected by hand
 */
export function decideInjection(
  pod: Pod,
  namespace: string,
  namespaceLabel: string | undefined,
  settings: DecisionSettings,
): InjectionVerdict {
  const { metadata = {}, spec } = pod
  const { labels = {}, annotations = {} } = metadata
  const leave = (because: string): InjectionVerdict => ({ kind: 'leave', because })
  if (SYSTEM.has(namespace) || namespace === settings.namespace) return leave(`the namespace \`${namespace}\` belongs to the system`)
  const own = labels[`${PREFIX}inject`] ?? annotations[`${PREFIX}inject`]
  if (own !== undefined && own !== 'enabled' && own !== 'disabled') {
    return { kind: 'refuse', problems: [`\`${PREFIX}inject\` is \`${own}\`: write \`enabled\` or \`disabled\`.`] }
  }
  if (own === 'disabled') return leave(`its \`${PREFIX}inject\` is \`disabled\``)
  if (own === undefined && namespaceLabel !== 'enabled')
    return leave(`neither it nor its namespace has the label \`${PREFIX}inject: enabled\``)
  if (annotations[OWN.injected] !== undefined && spec.initContainers?.some(({ name }) => name === 'postern') === true) {
    return leave('it has its sidecar already')
  }
  if (spec.hostNetwork === true) return leave('it uses the network of its node (`hostNetwork`), which a sidecar cannot guard')
  const choices = readAnnotations(annotations)
  if (!isChoices(choices)) return { kind: 'refuse', problems: choices }
  return plan(pod, namespace, choices, settings)
}

export function isChoices(read: Choices | readonly string[]): read is Choices {
  return !Array.isArray(read)
}

function plan({ metadata = {}, spec }: Pod, namespace: string, choices: Choices, settings: DecisionSettings): InjectionVerdict {
  const problems: string[] = []
  const warnings: string[] = []
  const interception = choices.interception ?? settings.interception
  for (const { name } of [...spec.containers, ...(spec.initContainers ?? [])]) {
    if (name === 'postern' || name === 'postern-init')
      problems.push(`a container is named \`${name}\`, which is the sidecar's own name; rename it.`)
  }
  for (const { name } of spec.volumes ?? []) {
    if (name.startsWith('postern')) problems.push(`a volume is named \`${name}\`; names that begin with \`postern\` are the sidecar's.`)
  }
  const numbers = choices.ports ?? declaredPorts(spec.containers, warnings)
  const ports = [...new Set(numbers)].filter((port) => !choices.skipPorts.includes(port))
  if (ports.length > MOST_PORTS) problems.push(`${ports.length} ports are to be guarded, and ${MOST_PORTS} are the most.`)
  const taken = new Set<number>([SIDECAR_PORTS.health, ...(interception === 'redirect' ? [SIDECAR_PORTS.outbound] : [])])
  if (interception === 'redirect') ports.forEach((_, index) => taken.add(SIDECAR_PORTS.inbound + index))
  for (const port of ports) {
    if (taken.has(port))
      problems.push(`the app's port ${port} is one that the sidecar needs; let the app use another, or skip it by \`${PREFIX}skip-ports\`.`)
    if (interception === 'loopback' && port < 1024) {
      problems.push(`port ${port} is below 1024, where a sidecar without capabilities cannot listen; use a higher one, or \`redirect\`.`)
    }
  }
  for (const { listen } of choices.outbound) {
    if (interception === 'redirect') {
      problems.push(`\`${PREFIX}outbound\` is for \`loopback\`: with \`redirect\` the app calls services by their own names.`)
      break
    }
    if (taken.has(listen) || ports.includes(listen) || listen < 1024) {
      problems.push(`\`${PREFIX}outbound\` listens on port ${listen}, which is the app's, the sidecar's or below 1024; take another.`)
    }
  }
  for (const port of choices.protocols.keys()) {
    if (!ports.includes(port) && !choices.outbound.some(({ listen }) => listen === port))
      problems.push(`\`${PREFIX}protocols\` speaks of port ${port}, which is not guarded (${ports.join(', ') || 'none is'}).`)
  }
  for (const { ports: declared = [] } of spec.containers) {
    for (const { hostPort, containerPort } of declared) {
      if (hostPort !== undefined && hostPort > 0)
        warnings.push(`hostPort ${hostPort} leads to port ${containerPort} of this pod and is guarded like it.`)
    }
  }
  if (problems.length > 0) return { kind: 'refuse', problems }
  return {
    kind: 'inject',
    plan: {
      service: choices.service ?? serviceName(metadata),
      namespace,
      serviceAccount: spec.serviceAccountName ?? 'default',
      labels: metadata.labels ?? {},
      interception,
      ports: ports.map((port) => ({ port, protocol: choices.protocols.get(port) ?? 'http1' })),
      choices,
      warnings,
    },
  }
}

function declaredPorts(containers: readonly Container[], warnings: string[]): number[] {
  return containers.flatMap(({ name, ports = [] }) =>
    ports.flatMap(({ containerPort, protocol = 'TCP' }) => {
      if (protocol === 'TCP') return [containerPort]
      warnings.push(`port ${containerPort}/${protocol} of container \`${name}\` is not guarded: only TCP is.`)
      return []
    }),
  )
}

/** What policies call it: what its labels call it, else its owner's name without what controllers append. */
function serviceName({ labels = {}, ownerReferences = [], name, generateName = '' }: NonNullable<Pod['metadata']>): string {
  const label = labels['app.kubernetes.io/name'] ?? labels['app']
  if (label !== undefined && label !== '') return label
  const owner = ownerReferences.find(({ controller }) => controller === true)
  const hash = labels['pod-template-hash']
  if (owner !== undefined) return hash !== undefined && owner.name.endsWith(`-${hash}`) ? owner.name.slice(0, -hash.length - 1) : owner.name
  return name ?? (generateName.replace(/-$/, '') || 'app')
}
