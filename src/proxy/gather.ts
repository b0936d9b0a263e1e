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
  // Nearly always a head and at most one piece of a body: an array for the rest only, as V8 empties one through its runtime.
  let head = ''
  let body: Buffer | undefined
  let rest: (string | Buffer)[] | undefined
  let size = 0

  function joined(): Buffer {
    const bytes = Buffer.allocUnsafe(size)
    let at = bytes.write(head, 0, head.length, 'latin1')
    if (body !== undefined) at += body.copy(bytes, at)
    for (const piece of rest ?? []) at += typeof piece === 'string' ? bytes.write(piece, at, piece.length, 'latin1') : piece.copy(bytes, at)
    return bytes
  }

  return {
    write(piece) {
      size += piece.length
      if (rest !== undefined) rest.push(piece)
      else if (body !== undefined) rest = [piece]
      else if (typeof piece === 'string') head += piece
      else body = piece
    },
    flush() {
      if (size === 0) return true
      const more = body === undefined && rest === undefined ? socket.write(head, 'latin1') : socket.write(joined())
      head = ''
      body = rest = undefined
      size = 0
      return more
    },
    get isEmpty() {
      return size === 0
    },
    clear() {
      head = ''
      body = rest = undefined
      size = 0
    },
  }
}
