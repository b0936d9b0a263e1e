/** The one form of a path that policy compares and the app receives (DESIGN §6). */
import type { Refusal } from '#base/result'

declare const canonical: unique symbol
/** A path in canonical form, without query. Made only by `canonicalPath`. */
export type CanonicalPath = string & { readonly [canonical]: true }

/** Kinds of paths that are refused unless a listener opts in by name. */
export type PathOptIn = 'encoded-slash' | 'double-slash' | 'params' | 'double-encoding'

export interface PathRules {
  readonly allow: ReadonlySet<PathOptIn>
  /** The app ignores case: decisions are made on `decisionPath`. */
  readonly ignoreCase: boolean
}

export declare function canonicalPath(path: string, rules: PathRules): CanonicalPath | Refusal
export declare function decisionPath(path: CanonicalPath, rules: PathRules): string
/** For literals of policies. */
export declare function canonicalLiteral(text: string): { readonly ok: boolean; readonly suggestion: string | undefined }
