/** Trust stores and identities of test meshes, as a sidecar would have them. */
import { readBundle } from '#pki/bundle'
import type { Revocations } from '#pki/revocations'
import { createTrustStore, type TrustStore } from '#pki/trust-store'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import type { TestMesh, TestSvid } from './authority.ts'

/** The first mesh is the sidecar's own; the others are federated with it. */
export function trustIn(meshes: readonly Pick<TestMesh, 'trustDomain' | 'bundlePem'>[], revocations?: Revocations): TrustStore {
  const bundles = meshes.map(({ trustDomain, bundlePem }) => readBundle(bundlePem, trustDomain, `${trustDomain}.pem`))
  return createTrustStore(meshes[0]?.trustDomain ?? '', bundles, revocations)
}

export function identityOf(svid: Pick<TestSvid, 'certificatePem' | 'keyPem'>): WorkloadIdentity {
  return readWorkloadIdentity(svid)
}
