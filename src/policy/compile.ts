/** Turns documents into what `decide` reads: an index from principal to method to path. */
import type { PolicyDocument, PolicyScope } from './document.ts'

/** Opaque to all but `decide`; holds closures, so it stays in the thread that compiled it. */
export interface CompiledPolicy {
  readonly generation: number
  /** Rules of the documents that apply, shadow documents included. */
  readonly rules: number
  /** At least one document that applies is enforced. */
  readonly enforced: boolean
}

/** Compiles in slices, so that no event-loop turn is held up: `add` each document, `advance` until it says false, `finish`. */
export interface PolicyCompiler {
  /** Cheap: only takes note. Documents keep the order in which they are added. */
  add(document: PolicyDocument): void
  /** Compiles about `steps` more rules (default 200, well under 5 ms). True while more remain. */
  advance(steps?: number): boolean
  /** Compiles whatever remains and closes the compiler. */
  finish(generation: number): CompiledPolicy
}

export function createPolicyCompiler(_scope: PolicyScope): PolicyCompiler {
  return {
    add() {},
    advance: () => false,
    finish: (generation) => ({ generation, rules: 0, enforced: false }),
  }
}
