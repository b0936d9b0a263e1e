/** A named pipe with a reader that reads only when told to: what stdout is in a container whose log is not collected. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Fifo extends Disposable {
  readonly path: string
  readonly writer: number
  /** All that is in the pipe now, up to `limit` bytes. */
  read(limit?: number): string
  /** From then on writes fail with EPIPE. */
  closeReader(): void
  openReader(): void
}

export function createFifo(): Fifo {
  const folder = mkdtempSync(join(tmpdir(), 'postern-fifo-'))
  const path = join(folder, 'pipe')
  execFileSync('mkfifo', [path])
  const open = (): number => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  let reader: number | undefined = open()
  const writer = openSync(path, constants.O_WRONLY)
  const chunk = Buffer.alloc(1 << 20)

  return {
    path,
    writer,
    read(limit = chunk.length) {
      if (reader === undefined) return ''
      let text = ''
      while (text.length < limit) {
        const bytes = readNow(reader, chunk, limit - text.length)
        if (bytes === 0) break
        text += chunk.toString('latin1', 0, bytes)
      }
      return text
    },
    closeReader() {
      if (reader !== undefined) closeSync(reader)
      reader = undefined
    },
    openReader() {
      reader = open()
    },
    [Symbol.dispose]() {
      if (reader !== undefined) closeSync(reader)
      closeSync(writer)
      rmSync(folder, { recursive: true })
    },
  }
}

/** Reads, `portion` bytes a turn, until `written` resolves, and then the rest. */
export async function readUntil(written: Promise<unknown>, fifo: Fifo, portion?: number): Promise<string> {
  const state = { done: false }
  const end = written.finally(() => {
    state.done = true
  })
  let text = ''
  while (!state.done) {
    text += fifo.read(portion)
    await new Promise(setImmediate)
  }
  await end
  return text + fifo.read()
}

function readNow(fd: number, into: Buffer, limit: number): number {
  try {
    return readSync(fd, into, 0, Math.min(limit, into.length), null)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0
    throw error
  }
}
