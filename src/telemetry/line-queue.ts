/** Lines that wait to be written, bounded in size: ordinary lines give way first, those to keep only when nothing else is left. */

/** How many lines were lost. */
export interface LineLoss {
  readonly ordinary: number
  readonly kept: number
}

export interface LineQueue {
  /** Takes a line, or counts it (or the ordinary lines that make room for it) as lost. @param keep an ordinary line is evicted for it */
  push(line: string, keep: boolean): void
  /** Removes whole lines from the head, at least one if there is any, up to about `maxSize` characters; `''` if there is none. */
  take(maxSize: number): string
  /** What was lost since the last call. */
  takeLoss(): LineLoss
  /** Characters waiting. */
  readonly size: number
  /** Lines waiting. */
  readonly length: number
  readonly loss: LineLoss
  /** Whether anything was lost since `takeLoss`. */
  readonly lossy: boolean
}

/** @param capacity characters; lines are mostly ASCII, which V8 keeps in a byte each */
export function createLineQueue(capacity: number): LineQueue {
  // A deque: slots before `head` are done with, an evicted line leaves `''` behind.
  let lines: string[] = []
  let keeps: boolean[] = []
  let head = 0
  // No ordinary line waits before this slot.
  let evictFrom = 0
  let size = 0
  let length = 0
  let ordinary = 0
  let kept = 0

  function makeRoom(needed: number): void {
    while (size + needed > capacity && evictFrom < lines.length) {
      const line = lines[evictFrom] ?? ''
      if (line !== '' && keeps[evictFrom] === false) {
        lines[evictFrom] = ''
        size -= line.length
        length--
        ordinary++
      }
      evictFrom++
    }
  }

  function compact(): void {
    if (head === lines.length) {
      lines = []
      keeps = []
    } else if (head > 1024 && head > lines.length / 2) {
      lines = lines.slice(head)
      keeps = keeps.slice(head)
    } else return
    evictFrom = Math.max(0, evictFrom - head)
    head = 0
  }

  return {
    push(line, keep) {
      if (size + line.length > capacity) {
        if (keep) makeRoom(line.length)
        if (size + line.length > capacity) {
          if (keep) kept++
          else ordinary++
          return
        }
      }
      lines.push(line)
      keeps.push(keep)
      size += line.length
      length++
    },
    take(maxSize) {
      let taken = ''
      while (head < lines.length) {
        const line = lines[head] ?? ''
        if (taken !== '' && taken.length + line.length > maxSize) break
        head++
        if (line === '') continue
        taken += line
        length--
      }
      size -= taken.length
      if (evictFrom < head) evictFrom = head
      compact()
      return taken
    },
    takeLoss() {
      const loss = { ordinary, kept }
      ordinary = 0
      kept = 0
      return loss
    },
    get size() {
      return size
    },
    get length() {
      return length
    },
    get loss() {
      return { ordinary, kept }
    },
    get lossy() {
      return ordinary + kept > 0
    },
  }
}
