/** The document of an injected sidecar: it lies in an annotation of its pod, where people can read it, and is mounted from there. */
import { type Plan, SIDECAR_PORTS } from './decide.ts'
import type { CarriedProbe } from './probes.ts'
import type { InjectionSettings } from './settings.ts'

export const MOUNT = '/var/run/postern'
export const RUN = '/run/postern'
/** What the kubelet keeps up to date with a pod certificate. */
export const CREDENTIALS = 'credentials.pem'

function identityOf({ podCertificate = false, caAddress }: InjectionSettings): object {
  const bundle = `${MOUNT}/bundle.pem`
  // One file holds both: the key, then the chain.
  if (podCertificate) return { files: { certificate: `${MOUNT}/${CREDENTIALS}`, key: `${MOUNT}/${CREDENTIALS}`, bundle } }
  return { ca: { address: caAddress, bundle, attest: { serviceAccountToken: { file: `${MOUNT}/token` } } } }
}

/** JSON, which YAML reads: annotations of one line are easier on `kubectl`. */
export function sidecarDocument(plan: Plan, probes: readonly CarriedProbe[], settings: InjectionSettings): string {
  const { service, namespace, labels, interception, ports, choices } = plan
  const redirect = interception === 'redirect'
  return JSON.stringify({
    apiVersion: 'postern.dev/v1',
    kind: 'Sidecar',
    metadata: { name: service, namespace, ...(Object.keys(labels).length > 0 && { labels }) },
    spec: {
      identity: identityOf(settings),
      mesh: {
        controller: settings.controllerAddress,
        peer: settings.controllerPeer,
        folder: `${RUN}/mesh`,
        ...(redirect && {
          redirect: { listen: `localhost:${SIDECAR_PORTS.outbound}`, passThrough: choices.passThrough ?? settings.passThrough },
        }),
      },
      ...(ports.length > 0 && {
        inbound: ports.map(({ port, protocol }, index) => ({
          listen: redirect ? `[::]:${SIDECAR_PORTS.inbound + index}` : `pod:${port}`,
          // Either loopback: some apps listen on IPv6 alone.
          app: `localhost:${port}`,
          ...(redirect && { port }),
          protocol,
        })),
      }),
      ...(choices.outbound.length > 0 && {
        outbound: choices.outbound.map(({ listen, service: name, namespace: of, port, account }) => ({
          listen: `127.0.0.1:${listen}`,
          to: `${name}.${of}:${port}`,
          peer: `spiffe://${settings.trustDomain}/ns/${of}/sa/${account}`,
          protocol: choices.protocols.get(listen) ?? 'http1',
        })),
      }),
      ...(probes.length > 0 && { probes: probes.map(({ timeout, path, ...ask }) => ({ path, ask, timeout: `${timeout}s` })) }),
      admin: `unix:${RUN}/admin.sock`,
      health: `[::]:${SIDECAR_PORTS.health}`,
    },
  })
}
