/** What one sidecar is told: the policies of its namespace and of the mesh, the services it may call, and whom else to trust. */
import { createHash } from 'node:crypto'
import type { KubeObject } from '#kube/objects'
import type { MeshService } from './services.ts'

/** A Policy or ClusterPolicy as the API server has it. */
export interface PolicyObject extends KubeObject {
  readonly spec?: object
  readonly tests?: unknown
}

export interface TrustDomainObject extends KubeObject {
  readonly spec?: { readonly bundle?: unknown; readonly endpoint?: unknown }
}

export interface SnapshotPolicy {
  /** `shop/readers`, or the bare name of a ClusterPolicy. */
  readonly name: string
  readonly kind: 'Policy' | 'ClusterPolicy'
  /** The document as JSON, which the sidecar reads as it reads files. */
  readonly text: string
}

export interface SidecarSnapshot {
  /** SHA-256 of all that follows, hex. */
  readonly digest: string
  readonly policies: readonly SnapshotPolicy[]
  readonly services: readonly MeshService[]
  /** By trust domain: a SPIFFE bundle (JWKS). */
  readonly federation: Readonly<Record<string, unknown>>
}

export interface SnapshotInputs {
  readonly policies: Iterable<PolicyObject>
  readonly clusterPolicies: Iterable<PolicyObject>
  readonly trustDomains: Iterable<TrustDomainObject>
  readonly services: readonly MeshService[]
}

/** The same for all sidecars of a namespace: selectors are the sidecar's to apply, as it knows its labels. */
export function snapshotFor(namespace: string, { policies, clusterPolicies, trustDomains, services }: SnapshotInputs): SidecarSnapshot {
  const own = [...policies].filter(({ metadata }) => metadata.namespace === namespace)
  const content = {
    policies: [
      ...own.map((policy) => policyText(policy, 'Policy')),
      ...[...clusterPolicies].map((policy) => policyText(policy, 'ClusterPolicy')),
    ].sort(byName),
    services,
    federation: federationOf(trustDomains),
  }
  return { digest: createHash('sha256').update(JSON.stringify(content)).digest('hex'), ...content }
}

/** Only what the policy language knows: status and what the API server adds are not of the document. */
function policyText({ metadata, spec, tests }: PolicyObject, kind: SnapshotPolicy['kind']): SnapshotPolicy {
  const { name, namespace } = metadata
  const shown = namespace === undefined ? name : `${namespace}/${name}`
  const document = {
    apiVersion: 'postern.dev/v1',
    kind: 'Policy',
    metadata: { name, ...(namespace !== undefined && { namespace }) },
    spec: spec ?? {},
    ...(tests !== undefined && { tests }),
  }
  return { name: shown, kind, text: JSON.stringify(document) }
}

function federationOf(trustDomains: Iterable<TrustDomainObject>): Readonly<Record<string, unknown>> {
  const found: Record<string, unknown> = {}
  for (const { metadata, spec } of [...trustDomains].sort((a, b) => byName(a.metadata, b.metadata))) {
    if (spec?.bundle !== undefined) found[metadata.name] = spec.bundle
  }
  return found
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}
