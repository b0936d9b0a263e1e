/** What many sidecars ask of an authority, without the sidecars: identities in a process of their own (`identities-process.ts`), renewed as a sidecar renews. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface IdentitiesOptions {
  /** Of the authority. */
  readonly port: number
  /** File of the trust bundle. */
  readonly bundle: string
  /** Join tokens, one for each identity. */
  readonly tokens: readonly string[]
}

/** A certificate came into force. */
export interface InForce {
  readonly index: number
  readonly serial: string
  /** Ms since the epoch. */
  readonly at: number
  readonly notAfter: number
  /** Ms since the epoch; undefined for the first of an identity. */
  readonly endOfLast: number | undefined
}

export interface Identities extends AsyncDisposable {
  /** Everything so far, in order. */
  readonly certificates: readonly InForce[]
}

/** Resolves when each has its first certificate. */
export async function startIdentities(options: IdentitiesOptions): Promise<Identities> {
  const child = fork(join(import.meta.dirname, 'identities-process.ts'), { execArgv: [] })
  const exited = once(child, 'exit')
  const certificates: InForce[] = []
  const all = Promise.withResolvers<void>()
  child.on('message', (certificate: InForce) => {
    certificates.push(certificate)
    if (certificates.length === options.tokens.length) all.resolve()
  })
  child.send(options)
  await Promise.race([
    all.promise,
    exited.then(() => {
      throw new Error('The process of the identities ended.')
    }),
  ])
  return {
    certificates,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
