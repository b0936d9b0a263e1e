/** Random numbers that a failing run can be repeated with: the seed is printed, and taken from POSTERN_SEED. */
import type { TestContext } from 'node:test'

/** [0, 1), mulberry32. */
export function createRandom(t: TestContext): () => number {
  let state = Number(process.env['POSTERN_SEED'] ?? Date.now() % 2 ** 31) | 0
  t.diagnostic(`POSTERN_SEED=${state}`)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
