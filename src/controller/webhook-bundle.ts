/** Keeps the roots that the API server verifies our webhook against (`caBundle`) equal to our trust bundle: both roots while one is replaced. */
import { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'

export const WEBHOOK_NAME = 'postern'

const CONFIGURATIONS: readonly Resource[] = ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'].map((plural) => ({
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural,
}))

interface Configuration extends KubeObject {
  readonly webhooks?: readonly { readonly clientConfig?: { readonly caBundle?: string } }[]
}

/** @param bundle PEM @returns how many configurations were changed @throws PosternError ERR_KUBE_… ; one that is not there is none to keep */
export async function publishWebhookBundle(client: KubeClient, bundle: string): Promise<number> {
  const wanted = Buffer.from(bundle).toString('base64')
  let changed = 0
  for (const resource of CONFIGURATIONS) {
    const found = await getIfThere(client, resource)
    const patch = (found?.webhooks ?? []).flatMap(({ clientConfig }, index) =>
      clientConfig === undefined || clientConfig.caBundle === wanted
        ? []
        : [{ op: 'add', path: `/webhooks/${index}/clientConfig/caBundle`, value: wanted }],
    )
    if (found === undefined || patch.length === 0) continue
    // Whoever changed the list of webhooks meanwhile makes this fail, and it is done again.
    const test = { op: 'test', path: '/metadata/resourceVersion', value: found.metadata.resourceVersion }
    await client.patch(resource, WEBHOOK_NAME, [test, ...patch], { type: 'json' })
    changed++
  }
  return changed
}

async function getIfThere(client: KubeClient, resource: Resource): Promise<Configuration | undefined> {
  try {
    return await client.get<Configuration>(resource, WEBHOOK_NAME)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_KUBE_NOT_FOUND') return undefined
    throw error
  }
}
