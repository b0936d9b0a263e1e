/**
 * Injection by the API server itself: a MutatingAdmissionPolicy (Kubernetes 1.36) that makes in CEL what `inject/inject.ts` makes, for pods that
 * choose nothing; and a ValidatingAdmissionPolicy that refuses, in words, the pods that need what CEL does not do here. Containers, volumes and
 * the sidecar's document are those of the injector, with expressions where they depend on the pod.
 */
import { OWN, PREFIX, readAnnotations } from './inject/annotations.ts'
import { isChoices, MOST_PORTS, type Plan, SIDECAR_PORTS } from './inject/decide.ts'
import { injectPod } from './inject/inject.ts'
import type { InjectionSettings } from './inject/settings.ts'
import { type KubeManifest, meta } from './manifest.ts'

const NAME = 'postern-inject'
const TOKEN = { name: 'name-of-the-service', namespace: 'namespace-of-the-pod', label: 'labels-of-the-pod', port: 65_535 } as const
const KINDS = ['startup', 'readiness', 'liveness'] as const

/** @param pods selectors of namespaces and pods */
export function injectionPolicy(settings: InjectionSettings, pods: object): readonly KubeManifest[] {
  const resourceRules = [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' }]
  const matchConstraints = { ...pods, matchPolicy: 'Equivalent', resourceRules }
  const hostless = { name: 'own-network', expression: '!has(object.spec.hostNetwork) || !object.spec.hostNetwork' }
  const apiVersion = 'admissionregistration.k8s.io/v1'
  return [
    {
      apiVersion,
      kind: 'MutatingAdmissionPolicy',
      metadata: meta(NAME),
      spec: {
        matchConstraints,
        matchConditions: [hostless, { name: 'no-sidecar-yet', expression: `!(${INJECTED})` }],
        failurePolicy: 'Fail',
        reinvocationPolicy: 'IfNeeded',
        variables: variables(settings),
        mutations: mutations(settings).map((expression) => ({ patchType: 'JSONPatch', jsonPatch: { expression } })),
      },
    },
    { apiVersion, kind: 'MutatingAdmissionPolicyBinding', metadata: meta(NAME), spec: { policyName: NAME } },
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicy',
      metadata: meta(NAME),
      spec: {
        matchConstraints,
        matchConditions: [hostless],
        failurePolicy: 'Fail',
        variables: [{ name: 'flat', expression: FLAT }],
        validations: validations(settings),
      },
    },
    {
      apiVersion,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: meta(NAME),
      spec: { policyName: NAME, validationActions: ['Deny'] },
    },
  ]
}

const INJECTED = `has(object.metadata.annotations) && '${OWN.injected}' in object.metadata.annotations && has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == 'postern')`

/** The TCP ports of all containers, as texts: CEL has no way to flatten a list of lists, but can join and split. */
const PORT_TEXT = `object.spec.containers.map(c, has(c.ports) ? c.ports.filter(p, !has(p.protocol) || p.protocol == 'TCP').map(p, string(p.containerPort)).join(',') : '').filter(s, s != '').join(',')`
const FLAT = `(${PORT_TEXT}) == '' ? [] : (${PORT_TEXT}).split(',')`

function variables(settings: InjectionSettings): readonly object[] {
  return [
    { name: 'flat', expression: FLAT },
    { name: 'names', expression: 'object.spec.containers.map(c, c.name)' },
    { name: 'labels', expression: 'has(object.metadata.labels) ? object.metadata.labels : {}' },
    { name: 'owner', expression: OWNER },
    { name: 'service', expression: SERVICE },
    // Keys and values of labels need no escapes in JSON.
    { name: 'labelText', expression: `variables.labels.map(k, '"' + k + '":"' + variables.labels[k] + '"').join(',')` },
    { name: 'inbound', expression: `variables.flat.map(p, ${inboundEntry(documentOf(settings))}).join(',')` },
    ...KINDS.map((kind) => ({ name: `${kind}Probes`, expression: probeText(kind) })),
    {
      name: 'probes',
      expression: `[${KINDS.map((kind) => `variables.${kind}Probes`).join(', ')}].filter(s, s != '').join(',')`,
    },
  ]
}

const OWNER = `has(object.metadata.ownerReferences) && object.metadata.ownerReferences.size() > 0 ? object.metadata.ownerReferences[0].name : has(object.metadata.name) && object.metadata.name != '' ? object.metadata.name : has(object.metadata.generateName) ? object.metadata.generateName : 'app'`
const SERVICE = `'app.kubernetes.io/name' in variables.labels ? variables.labels['app.kubernetes.io/name'] : 'app' in variables.labels ? variables.labels['app'] : 'pod-template-hash' in variables.labels ? variables.owner.replace('-' + variables.labels['pod-template-hash'], '') : variables.owner`

/** An HTTP probe of a guarded port, of the pod's own address, in plain text and without headers: what can be carried over. */
function carried(kind: string): string {
  const get = `c.${kind}Probe.httpGet`
  return `has(c.${kind}Probe) && has(${get}) && !has(${get}.host) && !has(${get}.httpHeaders) && (!has(${get}.scheme) || ${get}.scheme == 'HTTP') && ${portOf(get)} in variables.flat`
}

/** As text; names of ports are of their own container. */
function portOf(get: string): string {
  return `(type(${get}.port) == int ? string(${get}.port) : has(c.ports) && c.ports.exists(p, has(p.name) && p.name == ${get}.port) ? string(c.ports.filter(p, has(p.name) && p.name == ${get}.port)[0].containerPort) : '')`
}

function probeText(kind: string): string {
  const get = `c.${kind}Probe.httpGet`
  const path = `(has(${get}.path) ? ${get}.path.replace('\\\\', '\\\\\\\\').replace('"', '\\\\"') : '/')`
  const timeout = `(has(c.${kind}Probe.timeoutSeconds) ? string(c.${kind}Probe.timeoutSeconds) : '1')`
  const text = `'{"path":"/app-health/' + c.name + '/${kind}","ask":{"http":{"port":' + ${portOf(get)} + ',"path":"' + ${path} + '","headers":[]}},"timeout":"' + ${timeout} + 's"}'`
  return `object.spec.containers.filter(c, ${carried(kind)}).map(c, ${text}).join(',')`
}

/** One for each thing that is added: what comes first in the pod comes last here. */
function mutations(settings: InjectionSettings): readonly string[] {
  const { initContainers = [], volumes = [] } = injectPod({ spec: { containers: [] } }, planOf(settings, []), settings).spec
  const document =
    injectPod({ spec: { containers: [] } }, planOf(settings, [TOKEN.port]), settings).metadata?.annotations?.[OWN.document] ?? ''
  const own = initContainers.map((container) => (container.name === 'postern-init' ? withInbound(container) : literal(container)))
  const add = (path: string, value: string): string => `JSONPatch{op: "add", path: "${path}", value: ${value}}`
  const annotations = [
    [OWN.document, documentText(document)],
    [OWN.injected, literal(settings.version)],
  ] as const
  const annotated = annotations.map(([name, value]) => add(`/metadata/annotations/${name.replace('/', '~1')}`, value))
  const whole = add('/metadata/annotations', `{${annotations.map(([name, value]) => `"${name}": ${value}`).join(', ')}}`)
  const probe = (kind: string): string =>
    `object.spec.containers.filter(c, ${carried(kind)}).map(c, JSONPatch{op: "replace", path: "/spec/containers/" + string(variables.names.indexOf(c.name)) + "/${kind}Probe/httpGet", value: {"path": dyn("/app-health/" + c.name + "/${kind}"), "port": dyn(${SIDECAR_PORTS.health})}})`
  const volumesEach = volumes.map((volume) => add('/spec/volumes/-', literal(volume)))
  return [
    `has(object.metadata.annotations) ? [${annotated.join(', ')}] : [${whole}]`,
    ...KINDS.map(probe),
    `has(object.spec.volumes) ? [${volumesEach.join(', ')}] : [${add('/spec/volumes', `[${volumes.map(literal).join(', ')}]`)}]`,
    `has(object.spec.initContainers) ? [${own
      .toReversed()
      .map((container) => add('/spec/initContainers/0', container))
      .join(', ')}] : [${add('/spec/initContainers', `[${own.join(', ')}]`)}]`,
  ]
}

function planOf({ interception }: InjectionSettings, ports: readonly number[]): Plan {
  const choices = readAnnotations({})
  if (!isChoices(choices)) throw new TypeError('No annotation is no mistake.')
  return {
    service: TOKEN.name,
    namespace: TOKEN.namespace,
    serviceAccount: '',
    labels: { [TOKEN.label]: '' },
    interception,
    ports: ports.map((port) => ({ port, protocol: 'http1' })),
    choices,
    warnings: [],
  }
}

/** Of a pod with one port. */
function documentOf(settings: InjectionSettings): string {
  return injectPod({ spec: { containers: [] } }, planOf(settings, [TOKEN.port]), settings).metadata?.annotations?.[OWN.document] ?? ''
}

function inboundIn(document: string): string {
  return /"inbound":\[\{[^}]*\}\],/.exec(document)?.[0] ?? ''
}

/** The entry of a port `p`: the sidecar's port is the first one and as many further as `p` stands behind others. */
function inboundEntry(document: string): string {
  const entry = inboundIn(document).slice('"inbound":['.length, -'],'.length)
  const own = `string(${SIDECAR_PORTS.inbound} + variables.flat.indexOf(p))`
  return entry
    .split(new RegExp(`(${TOKEN.port}|${SIDECAR_PORTS.inbound})`))
    .map((piece) => (piece === String(TOKEN.port) ? 'p' : piece === String(SIDECAR_PORTS.inbound) ? own : literal(piece)))
    .join(' + ')
}

/** The document with expressions in place of what is the pod's own. */
function documentText(document: string): string {
  const inbound = inboundIn(document)
  const parts: readonly (readonly [text: string, expression: string])[] = [
    [`"${TOKEN.name}"`, `'"' + variables.service + '"'`],
    [`"${TOKEN.namespace}"`, `'"' + request.namespace + '"'`],
    [`"${TOKEN.label}":""`, 'variables.labelText'],
    [
      inbound,
      `(variables.inbound == '' ? '' : '"inbound":[' + variables.inbound + '],') + (variables.probes == '' ? '' : '"probes":[' + variables.probes + '],')`,
    ],
  ]
  let rest = document
  const pieces: string[] = []
  for (const [text, expression] of parts) {
    const at = rest.indexOf(text)
    if (text === '' || at === -1) throw new TypeError(`The sidecar's document has no ${text}.`)
    pieces.push(literal(rest.slice(0, at)), expression)
    rest = rest.slice(at + text.length)
  }
  return [...pieces, literal(rest)].join(' + ')
}

function withInbound(container: object): string {
  const { args = [], ...rest } = container as { readonly args?: readonly string[] }
  const [command = '', ...more] = args
  const listens = `variables.flat.map(p, p + '=' + string(${SIDECAR_PORTS.inbound} + variables.flat.indexOf(p))).join(',')`
  const list = `[${literal(command)}] + (variables.flat.size() > 0 ? ['--inbound', ${listens}] : []) + [${more.map(literal).join(', ')}]`
  return `{${members(rest)}, "args": dyn(${list})}`
}

/** JSON as CEL. Members are `dyn`: Kubernetes wants the values of a map to be of one type otherwise. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => `dyn(${literal(item)})`).join(', ')}]`
  if (typeof value === 'object' && value !== null) return `{${members(value)}}`
  return JSON.stringify(value)
}

function members(value: object): string {
  return Object.entries(value)
    .map(([key, member]) => `${JSON.stringify(key)}: dyn(${literal(member)})`)
    .join(', ')
}

function validations({ interception }: InjectionSettings): readonly object[] {
  const taken = [SIDECAR_PORTS.health, ...(interception === 'redirect' ? [SIDECAR_PORTS.outbound] : [])].map((port) => `'${port}'`)
  const listens =
    interception === 'redirect'
      ? ` && !(int(p) >= ${SIDECAR_PORTS.inbound} && int(p) < ${SIDECAR_PORTS.inbound} + variables.flat.size())`
      : ''
  const low = interception === 'loopback' ? ' && int(p) >= 1024' : ''
  const own = [OWN.document, OWN.injected, `${PREFIX}inject`].map((name) => `'${name}'`).join(', ')
  const handlers = KINDS.map((kind) => `(!has(c.${kind}Probe) || ${plain(`c.${kind}Probe`)})`)
  const hooks = ['postStart', 'preStop'].map(
    (hook) =>
      `(!has(c.lifecycle) || !has(c.lifecycle.${hook}) || (!has(c.lifecycle.${hook}.httpGet) && !has(c.lifecycle.${hook}.tcpSocket)))`,
  )
  const refuse = (expression: string, message: string): object => ({ expression, message, reason: 'Invalid' })
  return [
    refuse(INJECTED, 'Postern: the sidecar is missing. The policy postern-inject did not act on this pod.'),
    refuse(
      `!has(object.metadata.annotations) || object.metadata.annotations.all(k, !k.startsWith('${PREFIX}') || k in [${own}])`,
      'Postern: this cluster injects all pods alike (`postern install --injection policy`); annotations below postern.dev/ need the webhook.',
    ),
    refuse(
      `variables.flat.size() <= ${MOST_PORTS} && variables.flat.all(p, variables.flat.filter(q, q == p).size() == 1 && !(p in [${taken.join(', ')}])${listens}${low})`,
      `Postern: a containerPort is declared twice, or is one that the sidecar needs (${taken.join(', ')}${interception === 'redirect' ? ", '7443' and following" : ' and those below 1024'}); use another.`,
    ),
    refuse(
      `object.spec.containers.all(c, ${[...handlers, ...hooks].join(' && ')})`,
      'Postern: probes of the kinds tcpSocket and grpc, probes with headers, and hooks other than exec and sleep need the webhook; use httpGet or exec.',
    ),
  ]
}

function plain(probe: string): string {
  return `(!has(${probe}.tcpSocket) && !has(${probe}.grpc) && (!has(${probe}.httpGet) || !has(${probe}.httpGet.httpHeaders)))`
}
