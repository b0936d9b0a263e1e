/** The parts of pods that injection reads or writes. Whatever else an object holds is kept as it is. */

export interface ContainerPort {
  readonly name?: string
  readonly containerPort: number
  readonly protocol?: string
  readonly hostPort?: number
}

export interface HttpAction {
  readonly path?: string
  readonly port: number | string
  readonly host?: string
  readonly scheme?: string
  readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[]
}

export interface Handler {
  readonly httpGet?: HttpAction
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string }
  readonly grpc?: { readonly port: number; readonly service?: string }
  readonly [other: string]: unknown
}

export interface Probe extends Handler {
  readonly timeoutSeconds?: number
}

export interface Container {
  readonly name: string
  readonly image?: string
  readonly ports?: readonly ContainerPort[]
  readonly readinessProbe?: Probe
  readonly livenessProbe?: Probe
  readonly startupProbe?: Probe
  readonly lifecycle?: { readonly postStart?: Handler; readonly preStop?: Handler }
  readonly restartPolicy?: string
  readonly [other: string]: unknown
}

export interface PodSpec {
  readonly containers: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly volumes?: readonly { readonly name: string; readonly [other: string]: unknown }[]
  readonly hostNetwork?: boolean
  readonly serviceAccountName?: string
  readonly [other: string]: unknown
}

/** A pod, or the template of one: neither need have a name. */
export interface Pod {
  readonly metadata?: {
    readonly name?: string
    readonly generateName?: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string; readonly controller?: boolean }[]
    readonly [other: string]: unknown
  }
  readonly spec: PodSpec
  readonly [other: string]: unknown
}
