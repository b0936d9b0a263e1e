/** Gathers what is written to a socket within one turn into one write: one TLS record, one system call. */
import type { Socket } from 'node:net'

export interface Gather {
  /** Buffers must stay as they are until `flush`. */
  write(piece: string | Buffer): void
  /** @returns false when the writer should wait for the socket's `drain` */
  flush(): boolean
  readonly isEmpty: boolean
  clear(): void
}

/** Strings are latin1. */
export function createGather(socket: Socket): Gather {
  let pieces: (string | Buffer)[] = []
  let size = 0
  return {
    write(piece) {
      pieces.push(piece)
      size += piece.length
    },
    flush() {
      const [first] = pieces
      if (first === undefined) return true
      let more: boolean
      if (pieces.length === 1 && typeof first === 'string') {
        more = socket.write(first, 'latin1')
      } else {
        const bytes = Buffer.allocUnsafe(size)
        let at = 0
        for (const piece of pieces) {
          if (typeof piece === 'string') at += bytes.write(piece, at, piece.length, 'latin1')
          else at += piece.copy(bytes, at)
        }
        more = socket.write(bytes)
      }
      pieces.length = 0
      size = 0
      return more
    },
    get isEmpty() {
      return pieces.length === 0
    },
    clear() {
      pieces = []
      size = 0
    },
  }
}
