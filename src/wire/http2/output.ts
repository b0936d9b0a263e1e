/** Where frames are written: regions of slabs that all connections share, so that one turn's frames leave in one write. */
import { Buffer } from 'node:buffer'

interface Slab {
  readonly bytes: Buffer
  used: number
}

/** Shared by all connections of a process; hands out slabs that no pending write still needs. */
export interface SlabPool {
  take(size: number): Slab
  /** Takes a slab back with what is left of it. */
  giveBack(slab: Slab): void
  /** Takes a piece of a slab back that was written out and that nobody needs any more: room again, if it was the last that was cut. */
  reuse(piece: Buffer): void
}

const SLAB_BYTES = 65_536
/** What is left of a slab is not worth keeping below this. */
const LEAST_LEFT = 4096
const MOST_KEPT = 16

export function createSlabPool(): SlabPool {
  const kept: Slab[] = []
  /** The last slab that had no room worth keeping. */
  let full: Slab | undefined
  const pool: SlabPool = {
    take(size) {
      const slab = kept.pop()
      if (slab !== undefined && slab.bytes.length - slab.used >= size) return slab
      // A slab without room is let go: writes that still need it hold it.
      return { bytes: Buffer.allocUnsafeSlow(Math.max(size, SLAB_BYTES)), used: 0 }
    },
    giveBack(slab) {
      if (slab.bytes.length !== SLAB_BYTES) return
      if (SLAB_BYTES - slab.used < LEAST_LEFT) full = slab
      else if (kept.length < MOST_KEPT) kept.push(slab)
    },
    reuse(piece) {
      const last = kept.at(-1)
      // A slab is the whole of its memory.
      const slab = last?.bytes.buffer === piece.buffer ? last : full?.bytes.buffer === piece.buffer ? full : undefined
      if (slab?.used !== piece.byteOffset + piece.length) return
      slab.used = piece.byteOffset
      if (slab !== full) return
      full = undefined
      pool.giveBack(slab)
    },
  }
  return pool
}

const NOTHING = Buffer.alloc(0)

/** The output of one connection. Writers call `reserve`, then fill `bytes` from `position` on, within what they reserved. */
export class Output {
  bytes: Buffer = NOTHING
  position = 0
  readonly #pool: SlabPool
  #slab: Slab | undefined
  #start = 0
  #sealed: Buffer[] = []
  #sealedBytes = 0

  constructor(pool: SlabPool) {
    this.#pool = pool
  }

  /** Bytes written and not taken yet. */
  get length(): number {
    return this.#sealedBytes + this.position - this.#start
  }

  /** Makes room for `size` bytes in one piece. Offsets from before this call are void. */
  reserve(size: number): void {
    if (this.bytes.length - this.position >= size) return
    this.#seal()
    const slab = this.#pool.take(size)
    this.#slab = slab
    this.bytes = slab.bytes
    this.position = this.#start = slab.used
  }

  /** The next piece to be written to the socket, nearly always the only one; undefined if there is none. It is the caller's for good. */
  take(): Buffer | undefined {
    if (this.#slab !== undefined) this.#seal()
    const piece = this.#sealed.shift()
    if (piece !== undefined) this.#sealedBytes -= piece.length
    return piece
  }

  #seal(): void {
    const slab = this.#slab
    if (slab === undefined) return
    if (this.position > this.#start) {
      const piece = this.bytes.subarray(this.#start, this.position)
      this.#sealed.push(piece)
      this.#sealedBytes += piece.length
    }
    slab.used = this.position
    this.#pool.giveBack(slab)
    this.#slab = undefined
    this.bytes = NOTHING
    this.position = this.#start = 0
  }
}
