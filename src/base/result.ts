/** A refusal is a value, not an exception: what checks of a peer's input return. */
import type { ReasonCode } from './reasons.ts'

export interface Refusal {
  readonly ok: false
  readonly reason: ReasonCode
  /** What exactly, for the record and for `explain`; never sent to the caller. */
  readonly detail: string
}

export type Result<T> = { readonly ok: true; readonly value: T } | Refusal

export function ok<T>(value: T): Result<T> {
  return { ok: true, value }
}

export function refusal(reason: ReasonCode, detail = ''): Refusal {
  return { ok: false, reason, detail }
}
