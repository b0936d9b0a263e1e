/** Refuses documents with HTTP criteria that would govern an opaque listener: they could only be weakened or widened there. */
import type { Problem } from '#base/located'
import type { PolicyDocument, PolicyScope } from './document.ts'

/** One listener, as far as policies care. */
export interface GovernedListener extends PolicyScope {
  /** For messages: its address as configured. */
  readonly name: string
  readonly protocol: 'http1' | 'http2' | 'both' | 'tcp'
  /** Decisions are made on the lower-cased path. */
  readonly ignoreCase: boolean
}

/** Problems of a document on the listeners it applies to. Call at load; an error refuses the document. */
export declare function protocolProblems(document: PolicyDocument, listeners: readonly GovernedListener[]): Problem[]
