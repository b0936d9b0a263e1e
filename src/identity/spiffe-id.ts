/** SPIFFE IDs by the letter (SPIFFE-ID §2). Parsed by hand: WHATWG `URL` accepts and rewrites what the standard forbids. */

/** A parsed SPIFFE ID; equal IDs have equal `uri`. Made only by `parseSpiffeId`. */
export interface SpiffeId {
  /** `spiffe://trust-domain/path`, at most 2,048 bytes. */
  readonly uri: string
  readonly trustDomain: string
  /** With its leading slash; `''` for the trust domain's own ID. */
  readonly path: string
  /** Of paths `/ns/<namespace>/sa/<service account>`; else undefined. */
  readonly namespace: string | undefined
  readonly serviceAccount: string | undefined
}
