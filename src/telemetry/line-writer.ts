/**
 * Writes lines in batches to a sink that may be slow, full or gone, and never waits for it.
 *
 * idle ──push──▶ gathering ──delay, or 64 KiB──▶ writing ──all written──▶ idle; gathering if more has come
 *                                                │  ▲
 *                                        refused ▼  │ backoff
 *                                               stalled, while the queue fills and then loses lines
 */
import { backoffDelay } from '#base/backoff'
import type { ByteSink } from './byte-sink.ts'
import { createLineQueue } from './line-queue.ts'
import type { LineLoss } from './line-queue.ts'
import { createLineStage } from './line-stage.ts'

export type { LineLoss } from './line-queue.ts'

export interface LineWriterOptions {
  readonly sink: ByteSink
  /** `latin1` where every line is ASCII: quicker. Default `utf8`. */
  readonly encoding?: 'utf8' | 'latin1'
  /** Characters that may wait before lines are lost. */
  readonly capacity: number
  /** How long lines are gathered before a batch is written, ms; 64 KiB go at once. */
  readonly delay: number
  /** [0, 1), for the backoff. */
  readonly random: () => number
  /** The line, newline included, that stands where lines were lost, as soon as lines can be written again. */
  readonly lossNotice: (loss: LineLoss) => string
  /** The sink refused with something other than "not now". Called once, until a write succeeds again. */
  readonly onFailure?: (error: NodeJS.ErrnoException) => void
  /** A write succeeded after `onFailure`. */
  readonly onRecovery?: () => void
}

export interface LineWriterStats {
  /** Lines handed to the sink whole; notices of loss are not counted. */
  readonly written: number
  /** Lines lost for want of room, since the start. */
  readonly lost: LineLoss
  /** Lines that `close` gave up. */
  readonly abandoned: number
}

export interface LineWriter {
  /** @param line with its newline. @param keep whether ordinary lines are lost before it */
  push(line: string, keep: boolean): void
  /** Resolves when all that was pushed has been written, or after `timeout` ms: whether it has been. */
  flush(timeout: number): Promise<boolean>
  /** For a process about to end by a crash: writes what can be written at once, behind what is being written now. */
  flushSync(): void
  /** Flushes for at most `timeout` ms, gives up the rest, and takes no more. */
  close(timeout: number): Promise<void>
  /** Characters waiting. */
  readonly waiting: number
  readonly stats: LineWriterStats
}

interface Batch {
  readonly bytes: Buffer
  /** Notices of loss at its start, 0 or 1. */
  readonly notices: number
  readonly lines: number
  offset: number
}

const BATCH_SIZE = 64 * 1024
const NEWLINE = 10
/** A full pipe is tried again soon, and soon again: its reader may be only a little slower than we are. */
const BUSY = { first: 2, max: 20 }
const BROKEN = { first: 50, max: 1000 }

export function createLineWriter(options: LineWriterOptions): LineWriter {
  const { sink, delay, random, encoding = 'utf8' } = options
  const queue = createLineQueue(options.capacity)
  // What is staged cannot give way to what matters more: only where that is little beside what may wait.
  const stage = encoding === 'latin1' && options.capacity >= 4 * BATCH_SIZE ? createLineStage(BATCH_SIZE) : undefined
  let batch: Batch | undefined
  let timer: NodeJS.Timeout | undefined
  let writing = false
  let attempt = 0
  let failed = false
  let closed = false
  let written = 0
  let abandoned = 0
  let lost: LineLoss = { ordinary: 0, kept: 0 }
  const waiters = new Set<() => void>()

  function nextBatch(): Batch | undefined {
    const staged = stage?.take()
    if (staged !== undefined) return { ...staged, notices: 0, offset: 0 }
    const before = queue.length
    const text = queue.take(BATCH_SIZE)
    const loss = queue.takeLoss()
    const notices = loss.ordinary + loss.kept > 0 ? 1 : 0
    if (text === '' && notices === 0) return undefined
    lost = { ordinary: lost.ordinary + loss.ordinary, kept: lost.kept + loss.kept }
    const bytes = Buffer.from(notices === 0 ? text : options.lossNotice(loss) + text, encoding)
    return { bytes, notices, lines: before - queue.length, offset: 0 }
  }

  function staged(line: string): boolean {
    if (stage === undefined || queue.size > 0 || queue.lossy) return false
    if (stage.push(line)) return true
    if (writing || batch !== undefined) return false
    start()
    return stage.push(line)
  }

  function waiting(): number {
    return queue.size + (stage?.size ?? 0)
  }

  function start(): void {
    clearTimeout(timer)
    timer = undefined
    if (writing) return
    batch ??= nextBatch()
    if (batch === undefined) {
      for (const done of waiters) done()
      return
    }
    writing = true
    sink.write(batch.bytes, batch.offset, settled)
  }

  function settled(error: NodeJS.ErrnoException | null, bytes: number): void {
    writing = false
    if (error === null && bytes > 0) progressed(bytes)
    else if (error === null || error.code === 'EAGAIN' || error.code === 'EINTR') retry(BUSY)
    else refused(error)
  }

  function progressed(bytes: number): void {
    attempt = 0
    if (failed) options.onRecovery?.()
    failed = false
    advance(bytes)
    if (closed) return
    // As long as anything is queued, nothing can be staged.
    if (batch !== undefined || waiters.size > 0 || (stage !== undefined && queue.size > 0)) start()
    else gather()
  }

  function advance(bytes: number): void {
    if (batch === undefined) return
    batch.offset += bytes
    if (batch.offset < batch.bytes.length) return
    written += batch.lines
    batch = undefined
  }

  function gather(): void {
    const size = waiting()
    if (size >= BATCH_SIZE) start()
    else if (size > 0 || queue.lossy) timer ??= setTimeout(start, delay)
  }

  function refused(error: NodeJS.ErrnoException): void {
    // Another reader may come to the pipe, and must not begin in the middle of a line.
    if (batch !== undefined && batch.offset > 0 && error.code === 'EPIPE') {
      batch.offset = batch.bytes.lastIndexOf(NEWLINE, batch.offset - 1) + 1
    }
    if (!failed) options.onFailure?.(error)
    failed = true
    retry(BROKEN)
  }

  function retry(pace: { readonly first: number; readonly max: number }): void {
    if (closed) return
    timer = setTimeout(start, backoffDelay(attempt++, { ...pace, random }))
    timer.unref()
  }

  function flush(timeout: number): Promise<boolean> {
    return new Promise((resolve) => {
      const deadline = setTimeout(() => finish(false), timeout)
      const done = (): void => finish(true)
      function finish(all: boolean): void {
        clearTimeout(deadline)
        waiters.delete(done)
        resolve(all)
      }
      waiters.add(done)
      start()
    })
  }

  /** Whether all of it was taken. */
  function writeNow(next: Batch): boolean {
    while (next.offset < next.bytes.length) {
      const bytes = sink.writeSync(next.bytes, next.offset)
      if (bytes === 0) return false
      next.offset += bytes
    }
    written += next.lines
    if (next === batch) batch = undefined
    return true
  }

  function giveUp(): void {
    closed = true
    clearTimeout(timer)
    if (batch !== undefined) {
      const left = Math.min(batch.lines, newlines(batch.bytes.subarray(batch.offset)))
      written += batch.lines - left
      abandoned += left
    }
    abandoned += queue.length + (stage?.take()?.lines ?? 0)
  }

  return {
    push(line, keep) {
      if (closed) {
        abandoned++
        return
      }
      if (!staged(line)) queue.push(line, keep)
      if (!writing && batch === undefined) gather()
    },
    flush,
    flushSync() {
      if (!writing && batch !== undefined && !writeNow(batch)) return
      for (let next = nextBatch(); next !== undefined; next = nextBatch()) {
        if (writeNow(next)) continue
        if (writing) abandoned += next.lines
        else batch = next
        return
      }
    },
    async close(timeout) {
      if (closed) return
      await flush(timeout)
      giveUp()
    },
    get waiting() {
      return waiting()
    },
    get stats() {
      const waiting = queue.loss
      return {
        written,
        lost: { ordinary: lost.ordinary + waiting.ordinary, kept: lost.kept + waiting.kept },
        abandoned,
      }
    },
  }
}

function newlines(bytes: Uint8Array): number {
  let count = 0
  for (const byte of bytes) if (byte === NEWLINE) count++
  return count
}
