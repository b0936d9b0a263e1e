/** The parts of Kubernetes objects that we read. What comes from the API server has been validated there against its own schemas. */

export interface ObjectMeta {
  readonly name: string
  readonly namespace?: string
  readonly uid: string
  readonly resourceVersion: string
  readonly generation?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly deletionTimestamp?: string
}

export interface KubeObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: ObjectMeta
}

/** Where objects of a kind are: `/api/v1` or `/apis/GROUP/VERSION`, the plural, and a namespace unless all are meant. */
export interface Resource {
  /** `''` for the core group. */
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly namespace?: string
}

export function resourcePath({ group, version, plural, namespace }: Resource, name?: string, subresource?: string): string {
  const base = group === '' ? `/api/${version}` : `/apis/${group}/${version}`
  const scope = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`
  const object = name === undefined ? '' : `/${encodeURIComponent(name)}${subresource === undefined ? '' : `/${subresource}`}`
  return `${base}${scope}/${plural}${object}`
}

/** For messages: `pods`, `policies.postern.dev`. */
export function resourceName({ group, plural }: Resource): string {
  return group === '' ? plural : `${plural}.${group}`
}
