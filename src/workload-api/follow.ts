/** Streams of state: the whole at once, then again whenever it differs from what was sent last (SPIFFE_Workload_API §4.3). */
import { Code, ConnectError } from '@connectrpc/connect'
import { Buffer } from 'node:buffer'
import type { WorkloadSource } from './source.ts'

export interface Changes extends Disposable {
  /** Resolves once something has changed since the last call, or the stream is to end. */
  next(): Promise<void>
  /** Resolves `next`. */
  wake(): void
}

/** Changes come together while nobody waits for them: who is slow gets the newest state, not every one. */
export function createChanges(source: Pick<WorkloadSource, 'subscribe'>, signal: AbortSignal): Changes {
  let pending = signal.aborted
  let waiting: (() => void) | undefined
  const wake = (): void => {
    pending = true
    waiting?.()
  }
  const unsubscribe = source.subscribe(wake)
  signal.addEventListener('abort', wake)
  return {
    async next() {
      if (!pending) {
        const { promise, resolve } = Promise.withResolvers<void>()
        waiting = resolve
        await promise
        waiting = undefined
      }
      pending = false
    },
    wake,
    [Symbol.dispose]() {
      unsubscribe()
      signal.removeEventListener('abort', wake)
    },
  }
}

/**
 * Sends `build()` now and after each change of `source`. Never ends well: a status of OK would tell clients (java-spiffe) that nothing comes any more.
 * @param build throws a ConnectError: at first it is the answer; later Unavailable only means that there is no newer state yet
 * @throws ConnectError when the caller leaves, and Unavailable when the server does
 */
export async function* followState<M>(
  source: WorkloadSource,
  signal: AbortSignal,
  build: () => M,
  encode: (message: M) => Uint8Array,
): AsyncGenerator<M> {
  using changes = createChanges(source, signal)
  let sent: Uint8Array | undefined
  for (;;) {
    if (signal.aborted) throw endOf(signal)
    const message = attempt(build, sent !== undefined)
    const encoded = message === undefined ? undefined : encode(message)
    if (message !== undefined && encoded !== undefined && (sent === undefined || !Buffer.from(encoded).equals(sent))) {
      sent = encoded
      yield message
    }
    await changes.next()
  }
}

function attempt<M>(build: () => M, started: boolean): M | undefined {
  try {
    return build()
  } catch (error) {
    if (started && ConnectError.from(error).code === Code.Unavailable) return undefined
    throw error
  }
}

/** Why a call ends before its time. */
export function endOf(signal: AbortSignal): ConnectError {
  const reason: unknown = signal.reason
  return reason instanceof ConnectError ? reason : new ConnectError('the call was cancelled', Code.Canceled)
}
