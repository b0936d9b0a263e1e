/**
 * Commits in groups: what arrives in one turn of the event loop goes together, and what arrives while a commit is under way, or sooner than
 * one may follow the last, shares the next one. A durable commit costs a hundred times what one more row in it does.
 *
 *   idle ──add──▶ scheduled ──end of the turn──▶ under way ──done, and the pause over──▶ idle; under way again if more has come
 */

/** What became of one item: a value for whoever asked, or why it alone could not be done. */
export type Outcome = { readonly value: unknown } | { readonly error: Error }

export interface GroupCommit<Item> {
  /** Resolves with the item's value once its group is durable. */
  add<Value>(item: Item): Promise<Value>
  /** Resolves when nothing is under way or waiting. */
  settled(): Promise<void>
  /** How many groups were committed, for tests and benches. */
  readonly groups: number
}

export interface GroupCommitOptions<Item> {
  /**
   * Makes a group durable, all or nothing but for items whose outcome is an error. Undefined: all went well and have no value.
   * Rejects if nothing of it is durable, for every item alike.
   */
  readonly commit: (items: readonly Item[]) => Promise<readonly Outcome[] | undefined>
  /** Largest group. */
  readonly most?: number
  /** Ms from the beginning of a group to that of the next, so that a fast disk has no more commits to do than a slow one. None unless said. */
  readonly pause?: number
}

interface Asker {
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
}

const MOST = 512

export function createGroupCommit<Item>({ commit, most = MOST, pause = 0 }: GroupCommitOptions<Item>): GroupCommit<Item> {
  let items: Item[] = []
  let askers: Asker[] = []
  let underWay = false
  let scheduled = false
  let pausing = false
  let groups = 0
  let idle: (() => void)[] = []

  function flush(): void {
    scheduled = false
    if (underWay || pausing || items.length === 0) return
    const [group, waiting] = items.length <= most ? [items, askers] : [items.slice(0, most), askers.slice(0, most)]
    items = items.length <= most ? [] : items.slice(most)
    askers = askers.length <= most ? [] : askers.slice(most)
    underWay = true
    if (pause > 0) {
      pausing = true
      setTimeout(resume, pause)
    }
    commit(group).then(
      (outcomes) => end(waiting, (asker, index) => answer(asker, outcomes?.[index])),
      (error: unknown) => end(waiting, (asker) => asker.reject(error)),
    )
  }

  function resume(): void {
    pausing = false
    if (!scheduled) flush()
  }

  function end(waiting: readonly Asker[], settle: (asker: Asker, index: number) => void): void {
    groups++
    underWay = false
    // First, so that the disk works while the answers are written.
    flush()
    for (const [index, asker] of waiting.entries()) settle(asker, index)
    if (underWay || items.length > 0) return
    for (const resolve of idle) resolve()
    idle = []
  }

  return {
    add(item) {
      return new Promise((resolve, reject) => {
        items.push(item)
        askers.push({ resolve, reject })
        if (underWay || pausing || scheduled) return
        scheduled = true
        setImmediate(flush)
      })
    },
    settled() {
      if (!underWay && items.length === 0) return Promise.resolve()
      return new Promise((resolve) => idle.push(resolve))
    },
    get groups() {
      return groups
    },
  }
}

function answer(asker: Asker, outcome: Outcome | undefined): void {
  if (outcome === undefined) asker.resolve(undefined as never)
  else if ('error' in outcome) asker.reject(outcome.error)
  else asker.resolve(outcome.value as never)
}
