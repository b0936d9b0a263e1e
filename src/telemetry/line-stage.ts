/**
 * Lines written as bytes the moment they come, while nothing holds the writer up. A line is a tree of its parts until somebody flattens
 * it: kept as a string until its batch is written, it would outlive the young generation and cost more to collect than to make.
 */

export interface StagedLines {
  readonly bytes: Buffer
  readonly lines: number
}

export interface LineStage {
  /** @param line latin1. @returns false if there is no room: nothing was taken */
  push(line: string): boolean
  /** What was staged since the last call; undefined if nothing was. Its bytes are good until the call after next. */
  take(): StagedLines | undefined
  /** Bytes staged. */
  readonly size: number
}

export function createLineStage(capacity: number): LineStage {
  // Two, as one is being written while the other is filled.
  let filling = Buffer.allocUnsafeSlow(capacity)
  let spare = Buffer.allocUnsafeSlow(capacity)
  let size = 0
  let lines = 0
  return {
    push(line) {
      if (size + line.length > capacity) return false
      size += filling.write(line, size, line.length, 'latin1')
      lines++
      return true
    },
    take() {
      if (lines === 0) return undefined
      const taken = { bytes: filling.subarray(0, size), lines }
      const next = spare
      spare = filling
      filling = next
      size = lines = 0
      return taken
    },
    get size() {
      return size
    },
  }
}
