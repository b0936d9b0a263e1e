/** The body of one call as its handler reads it: chunks in order, each credited to the sender once it was taken. */

export interface RequestBody extends AsyncIterable<Uint8Array> {
  push(chunk: Uint8Array): void
  /** The sender is done. */
  end(): void
  /** Nobody reads it any more: what waits and what comes is credited at once. */
  drop(): void
}

/** @param onTaken how many bytes the handler took */
export function createRequestBody(onTaken: (bytes: number) => void): RequestBody {
  const chunks: Uint8Array[] = []
  let ended = false
  let dropped = false
  let wake: (() => void) | undefined

  async function* read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = chunks.shift()
      if (chunk !== undefined) {
        onTaken(chunk.length)
        yield chunk
      } else if (ended || dropped) return
      else {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
    }
  }

  return {
    [Symbol.asyncIterator]: read,
    push(chunk) {
      if (dropped) return onTaken(chunk.length)
      chunks.push(chunk)
      wake?.()
    },
    end() {
      ended = true
      wake?.()
    },
    drop() {
      if (dropped) return
      dropped = true
      const waiting = chunks.splice(0).reduce((sum, { length }) => sum + length, 0)
      if (waiting > 0) onTaken(waiting)
      wake?.()
    },
  }
}
