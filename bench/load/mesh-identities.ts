/** One authority, and what it gave to the API server, the controller and the sidecars of a mesh. */
import { createAuthority } from '#pki/authority'
import { issueSvid } from '#pki/issue'
import type { AuthorityCredentials } from './authority.ts'
import { MESH_DOMAIN } from './pods.ts'

export interface MeshIdentities {
  readonly bundlePem: string
  /** For `node:https`; called `localhost`. */
  readonly apiServer: { readonly key: string; readonly cert: string }
  readonly controller: AuthorityCredentials
  sidecar(namespace: string, serviceAccount: string): Promise<AuthorityCredentials>
}

const DAY = 86_400_000

export async function makeMeshIdentities(): Promise<MeshIdentities> {
  const now = Date.now()
  const span = { trustDomain: MESH_DOMAIN, notBefore: now - 60_000, notAfter: now + DAY }
  const root = await createAuthority({ ...span, kind: 'root' })
  const authority = await createAuthority({ ...span, kind: 'intermediate', issuer: root })
  const issue = async (path: string, dnsNames: readonly string[] = []): Promise<AuthorityCredentials> => {
    const { certificatePem, keyPem = '' } = await issueSvid({ authority, id: `spiffe://${MESH_DOMAIN}${path}`, now, ttl: DAY, dnsNames })
    return { certificatePem, keyPem }
  }
  const api = await issue('/ns/kube-system/sa/api-server', ['localhost'])
  return {
    bundlePem: root.certificatePem,
    apiServer: { key: api.keyPem, cert: api.certificatePem },
    controller: await issue('/ns/postern-system/sa/postern-controller', ['postern-controller.postern-system.svc']),
    sidecar: (namespace, serviceAccount) => issue(`/ns/${namespace}/sa/${serviceAccount}`),
  }
}
