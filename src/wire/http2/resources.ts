/** What all HTTP/2 connections of a process share: room that none of them keeps anything in. */
import { createFramePool, type FramePool } from './frame-reader.ts'
import { createScratch, type Scratch } from './hpack/cursor.ts'
import { createSlabPool, type SlabPool } from './output.ts'

export interface Http2Resources {
  readonly slabs: SlabPool
  readonly scratch: Scratch
  readonly frames: FramePool
}

/** Once a process. */
export function createHttp2Resources(): Http2Resources {
  return { slabs: createSlabPool(), scratch: createScratch(), frames: createFramePool() }
}
