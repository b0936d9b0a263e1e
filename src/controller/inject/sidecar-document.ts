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
      mesh: {
        controller: settings.controllerAddress,
        peer: settings.controllerPeer,
        folder: `${RUN}/mesh`,
        ...(redirect && {
          redirect: { listen: `127.0.0.1:${SIDECAR_PORTS.outbound}`, passThrough: choices.passThrough ?? settings.passThrough },
        }),
      },
      ...(ports.length > 0 && {
        inbound: ports.map(({ port, protocol }, index) => ({
          listen: redirect ? `[::]:${SIDECAR_PORTS.inbound + index}` : `pod:${port}`,
          app: `127.0.0.1:${port}`,
          ...(redirect && { port }),
          protocol,
        })),
      }),
      ...(probes.length > 0 && { probes: probes.map(({ timeout, path, ...ask }) => ({ path, ask, timeout: `${timeout}s` })) }),
      admin: `unix:${RUN}/admin.sock`,
      health: `[::]:${SIDECAR_PORTS.health}`,
    },
  })
}
