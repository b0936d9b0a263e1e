/** Reads a policy document, of kind Policy or bare PPL, and complains about everything it does not know. */
import type { LocatedValue, Problem } from '#base/located'
import type { PolicyDocument } from './document.ts'

export interface ReadPolicyOptions {
  /** Name of a document that does not say its own; usually the file's name without extension. */
  readonly defaultName: string
}

/** `document` is undefined exactly where a problem is an error. */
export interface PolicyReading {
  readonly document: PolicyDocument | undefined
  readonly problems: Problem[]
}

export declare function readPolicyDocument(value: LocatedValue, options: ReadPolicyOptions): PolicyReading
