/** The document of an injected sidecar: it lies in an annotation of its pod, where people can read it, and is mounted from there. */
import { type Plan, SIDECAR_PORTS } from './decide.ts'
import type { CarriedProbe } from './probes.ts'
import type { InjectionSettings } from './settings.ts'

export const MOUNT = '/var/run/postern'
export const RUN = '/run/postern'

/** JSON, which YAML reads: annotations of one line are easier on `kubectl`. */
export function sidecarDocument(plan: Plan, probes: readonly CarriedProbe[], settings: InjectionSettings): string {
  const { service, namespace, labels, interception, ports, choices } = plan
  const redirect = interception === 'redirect'
  return JSON.stringify({
    apiVersion: 'postern.dev/v1',
    kind: 'Sidecar',
    metadata: { name: service, namespace, ...(Object.keys(labels).length > 0 && { labels }) },
    spec: {
      identity: {
        ca: {
          address: settings.caAddress,
          bundle: `${MOUNT}/bundle.pem`,
          attest: { serviceAccountToken: { file: `${MOUNT}/token` } },
        },
      },
      controller: { address: settings.controllerAddress, peer: settings.controllerPeer },
      ...(ports.length > 0 && {
        inbound: ports.map(({ port, protocol }, index) => ({
          listen: redirect ? `[::]:${SIDECAR_PORTS.inbound + index}` : `pod:${port}`,
          app: `127.0.0.1:${port}`,
          port,
          protocol,
        })),
      }),
      ...outboundOf(plan, settings),
      ...(probes.length > 0 && {
        probes: probes.map(({ timeout, ...probe }) => ({ ...probe, timeout: `${timeout}s` })),
      }),
      ...(choices.logLevel !== undefined && { log: { level: choices.logLevel } }),
      admin: `unix:${RUN}/admin.sock`,
      health: `[::]:${SIDECAR_PORTS.health}`,
    },
  })
}

function outboundOf({ interception, choices }: Plan, settings: InjectionSettings): object {
  if (interception === 'redirect') {
    return {
      outbound: [
        {
          listen: `127.0.0.1:${SIDECAR_PORTS.outbound}`,
          interception: 'redirect',
          passThrough: choices.passThrough ?? settings.passThrough,
        },
      ],
    }
  }
  if (choices.outbound.size === 0) return {}
  return { outbound: [...choices.outbound].map(([port, service]) => ({ listen: `127.0.0.1:${port}`, service })) }
}
