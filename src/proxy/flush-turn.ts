/** Writes to sockets once what runs now has run: one write a socket, however many events brought it something to say. */

export interface Flushable {
  /** It waits to be flushed. */
  marked: boolean
  flush(): void
}

export interface FlushTurn {
  mark(one: Flushable): void
}

export function createFlushTurn(): FlushTurn {
  let waiting: Flushable[] = []

  function run(): void {
    const these = waiting
    waiting = []
    for (const one of these) {
      one.marked = false
      one.flush()
    }
  }

  return {
    mark(one) {
      if (one.marked) return
      one.marked = true
      if (waiting.push(one) === 1) queueMicrotask(run)
    },
  }
}
