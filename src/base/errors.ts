/** The one error class: a stable code, a sentence that says what to do, and the facts behind it. */
import type { ReasonCode } from './reasons.ts'

export interface PosternErrorOptions {
  readonly cause?: unknown
  readonly facts?: Readonly<Record<string, unknown>>
}

export class PosternError extends Error {
  override readonly name = 'PosternError'
  readonly code: ReasonCode
  readonly facts: Readonly<Record<string, unknown>>

  /** @param message what happened and what to do, one or two sentences */
  constructor(code: ReasonCode, message: string, options: PosternErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.facts = options.facts ?? {}
  }
}
