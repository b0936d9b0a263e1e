/** What came over one side of a stream while the other was looked after, together with changes of the state. */
import { type Changes, createChanges } from './follow.ts'
import type { WorkloadSource } from './source.ts'

export interface Inbox<T> extends Disposable {
  /** What came since the last call. @throws what ended the stream with an error */
  take(): readonly T[]
  /** The other side sends no more. */
  readonly ended: boolean
  /** Resolves once something came, ended or changed since. */
  next(): Promise<void>
}

export function createInbox<T>(requests: AsyncIterable<T>, source: Pick<WorkloadSource, 'subscribe'>, signal: AbortSignal): Inbox<T> {
  const changes: Changes = createChanges(source, signal)
  let waiting: T[] = []
  let ended = false
  let failure: { readonly error: unknown } | undefined

  async function read(): Promise<void> {
    try {
      for await (const request of requests) {
        waiting.push(request)
        changes.wake()
      }
    } catch (error) {
      failure = { error }
    }
    ended = true
    changes.wake()
  }
  void read()

  return {
    take() {
      if (failure !== undefined) throw failure.error
      const taken = waiting
      waiting = []
      return taken
    },
    get ended() {
      return ended && waiting.length === 0
    },
    next: () => changes.next(),
    [Symbol.dispose]: () => changes[Symbol.dispose](),
  }
}
