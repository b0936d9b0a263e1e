/** What all manifests of an installation have in common. */

export type KubeManifest = Readonly<Record<string, unknown>>

export const PART_OF = { 'app.kubernetes.io/part-of': 'postern' }

export function meta(name: string, namespace?: string): KubeManifest {
  return { name, ...(namespace !== undefined && { namespace }), labels: { ...PART_OF, 'app.kubernetes.io/name': name } }
}
