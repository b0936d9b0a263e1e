/**
 * The kubelet's probes and hooks of guarded ports, carried over: the kubelet has no certificate, so it asks the sidecar's health port, which
 * asks the app for exactly what was configured.
 */
import { SIDECAR_PORTS } from './decide.ts'
import type { Container, Handler, Probe } from './pod.ts'

/** What the sidecar's document says of one of them. */
export interface CarriedProbe {
  /** On the health port. */
  readonly path: string
  readonly http?: {
    readonly port: number
    readonly path: string
    readonly headers: readonly { readonly name: string; readonly value: string }[]
  }
  readonly tcp?: { readonly port: number }
  readonly grpc?: { readonly port: number; readonly service: string }
  /** Of the app's answer, s. */
  readonly timeout: number
}

const PROBES = ['startupProbe', 'readinessProbe', 'livenessProbe'] as const
/** Of which a handler has one. */
const ACTIONS: ReadonlySet<string> = new Set(['httpGet', 'tcpSocket', 'grpc'])
const HOOKS = ['postStart', 'preStop'] as const

/** @returns the container with its probes changed, and what they were */
export function carryProbes(container: Container, isGuarded: (port: number) => boolean): { container: Container; probes: CarriedProbe[] } {
  const probes: CarriedProbe[] = []
  function carry<T extends Handler>(handler: T, kind: string, timeout: number): T {
    const carried = carriedProbe(container, handler, `/app-health/${container.name}/${kind}`, timeout, isGuarded)
    if (carried === undefined) return handler
    probes.push(carried)
    const rest = Object.fromEntries(Object.entries(handler).filter(([name]) => !ACTIONS.has(name)))
    return { ...rest, httpGet: { path: carried.path, port: SIDECAR_PORTS.health } } as unknown as T
  }
  let changed: Container = container
  for (const name of PROBES) {
    const probe: Probe | undefined = container[name]
    if (probe === undefined) continue
    changed = { ...changed, [name]: carry(probe, name.slice(0, -'Probe'.length), probe.timeoutSeconds ?? 1) }
  }
  for (const name of HOOKS) {
    const hook = container.lifecycle?.[name]
    if (hook === undefined) continue
    changed = { ...changed, lifecycle: { ...changed.lifecycle, [name]: carry(hook, name.toLowerCase(), HOOK_SECONDS) } }
  }
  return { container: probes.length === 0 ? container : changed, probes }
}

/** The kubelet gives hooks the whole grace period; an app that has not answered by then is cut with it. */
const HOOK_SECONDS = 30

function carriedProbe(
  container: Container,
  { httpGet, tcpSocket, grpc }: Handler,
  path: string,
  timeout: number,
  isGuarded: (port: number) => boolean,
): CarriedProbe | undefined {
  const guarded = (port: number | string): number | undefined => {
    const number = portNumber(container, port)
    return number !== undefined && isGuarded(number) ? number : undefined
  }
  // Another host than the pod's own is not ours to answer for; neither is an app that does TLS itself.
  if (httpGet !== undefined && httpGet.host === undefined && httpGet.scheme !== 'HTTPS') {
    const port = guarded(httpGet.port)
    return port === undefined ? undefined : { path, http: { port, path: httpGet.path ?? '/', headers: httpGet.httpHeaders ?? [] }, timeout }
  }
  if (tcpSocket !== undefined && tcpSocket.host === undefined) {
    const port = guarded(tcpSocket.port)
    return port === undefined ? undefined : { path, tcp: { port }, timeout }
  }
  if (grpc !== undefined) {
    const port = guarded(grpc.port)
    return port === undefined ? undefined : { path, grpc: { port, service: grpc.service ?? '' }, timeout }
  }
  return undefined
}

/** Names of ports are of their own container. */
function portNumber({ ports = [] }: Container, port: number | string): number | undefined {
  return typeof port === 'number' ? port : ports.find(({ name }) => name === port)?.containerPort
}
