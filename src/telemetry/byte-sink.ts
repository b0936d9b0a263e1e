/** Where bytes leave the process: a file descriptor that is written without ever blocking the event loop or the exit. */
import { fstatSync, write, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import process from 'node:process'
import type { Writable } from 'node:stream'

export interface ByteSink {
  /** Writes all or a part from `offset`, then calls back once, never before it returns. Not called again until it has. */
  write(chunk: Uint8Array, offset: number, done: (error: NodeJS.ErrnoException | null, written: number) => void): void
  /** One try at once, for a process's last words. Bytes written; 0 if it would block or fails. */
  writeSync(chunk: Uint8Array, offset: number): number
}

/**
 * A sink on an open descriptor, which stays the caller's to close.
 * Pipes and sockets are put into non-blocking mode: a pool thread that sits in `write(2)` on a pipe nobody reads would keep
 * the process from ending, even through `process.exit`.
 */
export function createDescriptorSink(fd: number): ByteSink {
  const sink: ByteSink & { readonly handle: Writable | undefined } = {
    // Held, because a collected handle closes its descriptor.
    handle: nonBlockingHandle(fd),
    write: (chunk, offset, done) => write(fd, chunk, offset, chunk.length - offset, null, done),
    writeSync(chunk, offset) {
      try {
        return writeSync(fd, chunk, offset, chunk.length - offset, null)
      } catch {
        return 0
      }
    },
  }
  return sink
}

/** Node sets O_NONBLOCK when it opens a stream on a pipe or socket, and offers no other way to set it. */
function nonBlockingHandle(fd: number): Writable | undefined {
  const stats = fstatSync(fd)
  if (!stats.isFIFO() && !stats.isSocket()) return undefined
  if (fd === 1) return process.stdout
  if (fd === 2) return process.stderr
  return new Socket({ fd, readable: false, writable: true })
}
