/** In which version a cluster serves a kind of object: which it has depends on its age, and on what is switched on. */
import { PosternError } from '#base/errors'
import type { KubeClient } from './client.ts'
import type { Resource } from './objects.ts'

interface ResourceList {
  readonly resources?: readonly { readonly name: string }[]
}

/** The first of `versions` that has it; undefined if none does. @throws PosternError ERR_KUBE_… */
export async function findServed(
  client: KubeClient,
  { group, plural }: Pick<Resource, 'group' | 'plural'>,
  versions: readonly string[],
): Promise<Resource | undefined> {
  for (const version of versions) {
    if (await isServed(client, `/apis/${group}/${version}`, plural)) return { group, version, plural }
  }
  return undefined
}

async function isServed(client: KubeClient, path: string, plural: string): Promise<boolean> {
  try {
    const { resources = [] } = (await client.raw(path)) as ResourceList
    return resources.some(({ name }) => name === plural)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_KUBE_NOT_FOUND') return false
    throw error
  }
}
