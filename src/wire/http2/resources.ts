/** What all HTTP/2 connections of a process share: room that none of them keeps anything in. */
import { createScratch, type Scratch } from './hpack/cursor.ts'
import { createSlabPool, type SlabPool } from './output.ts'

export interface Http2Resources {
  readonly slabs: SlabPool
  readonly scratch: Scratch
}

/** Once a process. */
export function createHttp2Resources(): Http2Resources {
  return { slabs: createSlabPool(), scratch: createScratch() }
}
