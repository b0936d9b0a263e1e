/** A listener as policies see it: which service, which labels, which ports. */
import { formatAddress } from '#base/units'
import type { PolicyScope } from '#policy/document'
import type { GovernedListener } from '#policy/protocol'
import type { InboundConfig, SidecarConfig } from './sidecar-config.ts'

/** `spec.target.ports` may name the port that callers use or the app's own. */
export function scopeOf(config: SidecarConfig, { listen, app, port }: InboundConfig): PolicyScope {
  const ports = [listen.port, ...(app.kind === 'tcp' ? [app.port] : []), ...(port === undefined ? [] : [port])]
  return { service: config.name, labels: config.labels, ports: ports.filter((port) => port !== 0) }
}

export function governedListeners(config: SidecarConfig): GovernedListener[] {
  return config.inbound.map((inbound) => ({
    ...scopeOf(config, inbound),
    name: formatAddress(inbound.listen),
    protocol: inbound.protocol,
    ignoreCase: inbound.paths.ignoreCase,
  }))
}
