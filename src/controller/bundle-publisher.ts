/**
 * Puts the mesh's trust bundle where pods mount it from: a ClusterTrustBundle where the cluster has such, else a ConfigMap in every namespace
 * that is injected. While a root is replaced both are in it.
 */
import { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { findServed } from '#kube/served'

export const BUNDLE_CONFIG_MAP = 'postern-ca-bundle'
const MANAGER = 'postern-controller'

const TRUST_BUNDLES = { group: 'certificates.k8s.io', plural: 'clustertrustbundles' } as const
/** v1 is of Kubernetes 1.37; before it somebody has to switch the other on. */
const VERSIONS = ['v1', 'v1beta1'] as const

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
  for (const version of VERSIONS) {
    const found = await getIfThere<TrustBundle>(client, { ...TRUST_BUNDLES, version }, name)
    if (found?.spec?.trustBundle === bundle) return false
    if (found !== undefined) break
  }
  const resource = await findServed(client, TRUST_BUNDLES, VERSIONS)
  if (resource === undefined) {
    const words =
      'This cluster knows no ClusterTrustBundles: they are of Kubernetes 1.37, and of 1.33 and later where v1beta1 is switched on.'
    throw new PosternError('ERR_KUBE_NOT_FOUND', words)
  }
  const object = {
    apiVersion: `${TRUST_BUNDLES.group}/${resource.version}`,
    kind: 'ClusterTrustBundle',
    metadata: { name, labels: { 'app.kubernetes.io/part-of': 'postern' } },
    spec: { signerName: signer, trustBundle: bundle },
  }
  await client.patch(resource, name, object, { type: 'apply', fieldManager: MANAGER })
  return true
}

export interface ConfigMapPublisher {
  /**
   * Namespaces where this bundle is not known to be at once, some of the others to see whether it is still there: all in turn.
   * @returns the namespaces in which something was written @throws PosternError ERR_KUBE_…
   */
  publish(namespaces: readonly string[], bundle: string): Promise<readonly string[]>
}

/** Looked at again in one pass: a map that somebody deletes is there again after a few. */
const LOOKS = 20

export function createConfigMapPublisher(client: KubeClient): ConfigMapPublisher {
  /** Namespaces in the order in which they were looked at, and the bundle that was there. */
  const known = new Map<string, string>()

  return {
    async publish(namespaces, bundle) {
      const wanted = new Set(namespaces)
      for (const namespace of known.keys()) if (!wanted.has(namespace)) known.delete(namespace)
      const missing = namespaces.filter((namespace) => known.get(namespace) !== bundle)
      const again = [...known.keys()].filter((namespace) => !missing.includes(namespace)).slice(0, LOOKS)
      const written: string[] = []
      for (const namespace of [...missing, ...again]) {
        known.delete(namespace)
        if (await publishConfigMap(client, namespace, bundle)) written.push(namespace)
        known.set(namespace, bundle)
      }
      return written
    },
  }
}

async function publishConfigMap(client: KubeClient, namespace: string, bundle: string): Promise<boolean> {
  const maps: Resource = { group: '', version: 'v1', plural: 'configmaps', namespace }
  const found = await getIfThere<ConfigMap>(client, maps, BUNDLE_CONFIG_MAP)
  if (found?.data?.['bundle.pem'] === bundle) return false
  const object = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: BUNDLE_CONFIG_MAP, labels: { 'app.kubernetes.io/part-of': 'postern' } },
    data: { 'bundle.pem': bundle },
  }
  await client.patch(maps, BUNDLE_CONFIG_MAP, object, { type: 'apply', fieldManager: MANAGER })
  return true
}

async function getIfThere<T extends KubeObject>(client: KubeClient, resource: Resource, name: string): Promise<T | undefined> {
  try {
    return await client.get<T>(resource, name)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_KUBE_NOT_FOUND') return undefined
    throw error
  }
}
