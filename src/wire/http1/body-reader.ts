/** Reads bodies. */
import type { Refusal } from '#base/result'
import type { HeaderList } from '#http/header-list'
import type { HeadLimits } from './limits.ts'

export interface BodySink {
  onData(chunk: Buffer): void
  onEnd(trailers: HeaderList | undefined): void
}

export interface BodyReader {
  /** Index after the last byte consumed. */
  read(bytes: Buffer, from: number, sink: BodySink): number
  end(sink: BodySink): void
  readonly done: boolean
  readonly fault: Refusal | undefined
}

export declare function createBodyReader(bodyLength: number, limits: HeadLimits): BodyReader
