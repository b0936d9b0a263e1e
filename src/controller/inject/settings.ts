/** What is the same for all pods of a mesh: the controller's configuration, or the options of `postern inject`. */
import type { Interception } from './annotations.ts'

export interface InjectionSettings {
  /** Of the sidecar and its init container; with a tag. */
  readonly image: string
  readonly trustDomain: string
  /** Where CA and controller run, `postern-system` by default; nothing is injected there. */
  readonly namespace: string
  readonly caAddress: string
  /** Of the snapshot service. */
  readonly controllerAddress: string
  /** The controller's SPIFFE ID. */
  readonly controllerPeer: string
  /** The cluster knows ClusterTrustBundles (1.37; 1.33 with the gate): the bundle is that of this signer. Undefined: a ConfigMap `postern-ca-bundle`. */
  readonly trustBundleSigner: string | undefined
  /** Certificates of `trustBundleSigner` come by PodCertificateRequests, before the first container starts; no token is mounted then. */
  readonly podCertificate?: boolean
  readonly interception: Interception
  readonly passThrough: 'allow' | 'refuse'
  /** Called directly by every app: the API server's address. */
  readonly excludeNetworks: readonly string[]
  readonly version: string
}
