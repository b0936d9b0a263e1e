/** Manifests of every kind of workload, and what injection makes of their pods: `GOLDEN=write node --test …` writes the files anew. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readPlainYaml } from '#config/plain-yaml'
import type { Pod } from '#controller/inject/pod'
import type { InjectionSettings } from '#controller/inject/settings'

const FOLDER = join(import.meta.dirname, '..', 'controller', 'inject')
const MANIFESTS = join(FOLDER, 'manifests')

/** What a mesh of `postern install` has that names nothing but its trust domain and image. */
export const GOLDEN_SETTINGS: InjectionSettings = {
  image: 'example.org/postern:1',
  trustDomain: 'example.org',
  namespace: 'postern-system',
  caAddress: 'postern-ca.postern-system.svc:7100',
  controllerAddress: 'postern-controller.postern-system.svc:7201',
  controllerPeer: 'spiffe://example.org/ns/postern-system/sa/postern-controller',
  trustBundleSigner: undefined,
  interception: 'redirect',
  passThrough: 'allow',
  excludeNetworks: [],
  version: '1',
}

export interface GoldenCase {
  /** `stateful-set`. */
  readonly name: string
  readonly manifest: Readonly<Record<string, unknown>>
  /** Where what injection makes is written down. */
  readonly file: string
}

export const GOLDEN_CASES: readonly GoldenCase[] = readdirSync(MANIFESTS).map((file) => {
  const name = file.replace('.yaml', '')
  const manifest = readPlainYaml(readFileSync(join(MANIFESTS, file), 'utf8'), file) as Readonly<Record<string, unknown>>
  return { name, manifest, file: join(FOLDER, 'golden', `${name}.json`) }
})

export function readGolden({ file }: GoldenCase): Pod {
  return JSON.parse(readFileSync(file, 'utf8')) as Pod
}

/** The pod in a workload. */
export function podOf(manifest: Readonly<Record<string, unknown>>): Pod {
  if (manifest['kind'] === 'Pod') return manifest as unknown as Pod
  const { jobTemplate, template } = manifest['spec'] as {
    readonly jobTemplate?: Readonly<Record<string, unknown>>
    readonly template?: Pod
  }
  if (template !== undefined) return template
  if (jobTemplate === undefined) throw new Error(`there is no pod in a ${String(manifest['kind'])}`)
  return podOf(jobTemplate)
}
