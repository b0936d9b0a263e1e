/** A task that never runs twice at once, and never misses a wish that came while it ran. */

/** Runs `task`; while it runs, all further calls share one more run that begins after it. */
export function oneAtATime<T>(task: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  let next: Promise<T> | undefined
  const begin = (): Promise<T> => {
    running = task().finally(() => {
      running = undefined
    })
    return running
  }
  return () => {
    // Also while the next run is about to begin: between the end of one and the begin of the next none is running.
    if (next !== undefined) return next
    if (running === undefined) return begin()
    next = running.then(ignore, ignore).then(() => {
      next = undefined
      return begin()
    })
    return next
  }
}

function ignore(): void {}
