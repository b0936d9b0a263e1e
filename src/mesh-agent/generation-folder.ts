/**
 * What the controller said, on disk: the policies as files of a folder that `spec.policies` names, so that they are read, checked, watched,
 * kept and explained as any others are, and the services beside them. Each snapshot is a folder of its own, and `current` is moved to it
 * in one step: nobody, not even after a crash or on a full disk, sees a half of one.
 *
 *   FOLDER/current → generation-1a2b…/policies/namespace_shop_readers.json
 *                                    /federation/partner.example.json
 *                                    /snapshot.json
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BundleTexts } from './bundles.ts'
import { type MeshService, readServices } from './service-table.ts'

export interface ReceivedPolicy {
  /** `shop/readers`, or a bare name. */
  readonly name: string
  readonly kind: string
  readonly text: string
}

export interface KeptSnapshot {
  readonly digest: string
  readonly services: readonly MeshService[]
  readonly bundles: BundleTexts
}

const CURRENT = 'current'
const FEDERATION = 'federation'
const GENERATION = /^generation-[0-9a-f]+$/
/** Names of objects are DNS labels; whatever else comes must not become a path. */
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?(?:\/[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)?$/

/** For `spec.policies`. */
export function policiesFolder(folder: string): string {
  return join(folder, CURRENT, 'policies')
}

/** `namespace_shop_readers.json`; a hash where the name is not one that the API server would take. */
export function policyFileName({ kind, name }: ReceivedPolicy): string {
  const stem = NAME.test(name) ? name.replace('/', '_') : createHash('sha256').update(name).digest('hex')
  return `${kind === 'ClusterPolicy' ? 'cluster' : 'namespace'}_${stem}.json`
}

export async function writeGeneration(
  folder: string,
  snapshot: KeptSnapshot & { readonly policies: readonly ReceivedPolicy[] },
): Promise<void> {
  const { digest, services, policies, bundles } = snapshot
  const name = `generation-${randomBytes(8).toString('hex')}`
  const path = join(folder, name)
  try {
    await mkdir(join(path, 'policies'), { recursive: true, mode: 0o700 })
    for (const policy of policies) await writeFile(join(path, 'policies', policyFileName(policy)), policy.text, { mode: 0o600 })
    await mkdir(join(path, FEDERATION), { mode: 0o700 })
    for (const [trustDomain, text] of bundles) await writeFile(join(path, FEDERATION, `${trustDomain}.json`), text, { mode: 0o600 })
    await writeFile(join(path, 'snapshot.json'), JSON.stringify({ digest, services }), { mode: 0o600 })
    await rm(join(folder, 'next'), { force: true })
    await symlink(name, join(folder, 'next'))
    await rename(join(folder, 'next'), join(folder, CURRENT))
  } catch (error) {
    await rm(path, { recursive: true, force: true })
    throw error
  }
  await removeOthers(folder, name)
}

/** What was written last; makes an empty one where there is none, so that there is something to read. Its digest is `''`. */
export async function openGenerations(folder: string): Promise<KeptSnapshot> {
  try {
    await removeOthers(folder, await readlink(join(folder, CURRENT)))
    const { digest, services } = JSON.parse(await readFile(join(folder, CURRENT, 'snapshot.json'), 'utf8')) as Readonly<
      Record<string, unknown>
    >
    const known = readServices(services)
    if (typeof digest === 'string' && known !== undefined) return { digest, services: known, bundles: await readBundles(folder) }
  } catch {
    // There is none yet, or not one of ours.
  }
  const none = { digest: '', services: [], policies: [], bundles: new Map<string, string>() }
  await writeGeneration(folder, none)
  return none
}

async function readBundles(folder: string): Promise<BundleTexts> {
  const path = join(folder, CURRENT, FEDERATION)
  const names = await readdir(path).catch(() => [])
  const read = async (name: string): Promise<readonly [string, string]> => [
    name.replace(/\.json$/, ''),
    await readFile(join(path, name), 'utf8'),
  ]
  return new Map(await Promise.all(names.map(read)))
}

async function removeOthers(folder: string, kept: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (GENERATION.test(name) && name !== kept) await rm(join(folder, name), { recursive: true, force: true })
  }
}
