/**
 * Puts the mesh's trust bundle where pods mount it from: a ClusterTrustBundle where the cluster has such, else a ConfigMap in every namespace
 * that is injected. While a root is replaced both are in it.
 */
import { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'

export const BUNDLE_CONFIG_MAP = 'postern-ca-bundle'
const MANAGER = 'postern-controller'

const TRUST_BUNDLES: Resource = { group: 'certificates.k8s.io', version: 'v1', plural: 'clustertrustbundles' }

interface TrustBundle extends KubeObject {
  readonly spec?: { readonly trustBundle?: string }
}

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>
}

/** @param bundle PEM @returns whether anything was written @throws PosternError ERR_KUBE_… */
export async function publishTrustBundle(client: KubeClient, signer: string, bundle: string): Promise<boolean> {
  // The API server wants the signer in the name, with `:` for `/`.
  const name = `${signer.replace('/', ':')}:bundle`
  const found = await getIfThere<TrustBundle>(client, TRUST_BUNDLES, name)
  if (found?.spec?.trustBundle === bundle) return false
  const object = {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'ClusterTrustBundle',
    metadata: { name, labels: { 'app.kubernetes.io/part-of': 'postern' } },
    spec: { signerName: signer, trustBundle: bundle },
  }
  await client.patch(TRUST_BUNDLES, name, object, { type: 'apply', fieldManager: MANAGER })
  return true
}

/** @returns the namespaces in which something was written @throws PosternError ERR_KUBE_… */
export async function publishConfigMaps(client: KubeClient, namespaces: readonly string[], bundle: string): Promise<readonly string[]> {
  const written: string[] = []
  for (const namespace of namespaces) {
    const maps: Resource = { group: '', version: 'v1', plural: 'configmaps', namespace }
    const found = await getIfThere<ConfigMap>(client, maps, BUNDLE_CONFIG_MAP)
    if (found?.data?.['bundle.pem'] === bundle) continue
    const object = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: BUNDLE_CONFIG_MAP, labels: { 'app.kubernetes.io/part-of': 'postern' } },
      data: { 'bundle.pem': bundle },
    }
    await client.patch(maps, BUNDLE_CONFIG_MAP, object, { type: 'apply', fieldManager: MANAGER })
    written.push(namespace)
  }
  return written
}

async function getIfThere<T extends KubeObject>(client: KubeClient, resource: Resource, name: string): Promise<T | undefined> {
  try {
    return await client.get<T>(resource, name)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_KUBE_NOT_FOUND') return undefined
    throw error
  }
}
