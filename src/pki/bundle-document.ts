/** Writes a trust bundle as a SPIFFE JWK Set (Trust Domain and Bundle §4, X509-SVID §6.1). Reading one is `bundle`'s job. */
import { X509Certificate } from 'node:crypto'

export interface BundleContent {
  /** DER of the trust domain's own authorities, self-signed. */
  readonly authorities: readonly Buffer[]
  /** Public JWKs of its JWT authorities, each with its `kid`; `use` is set here. */
  readonly jwtKeys?: readonly Readonly<Record<string, unknown>>[]
  /** Greater than that of every earlier version with other content; up to 64 bits. */
  readonly sequence: bigint
  /** How often to ask for a newer version, whole seconds. */
  readonly refreshHint: number
}

/** The document, indented, with a newline at its end. Equal content gives equal bytes. */
export function bundleDocument(content: BundleContent): string {
  const keys = [...content.authorities.map(x509Key), ...(content.jwtKeys ?? []).map((key) => ({ ...key, use: 'jwt-svid' }))]
  const members = keys.map((key) => JSON.stringify(key, undefined, 2).replaceAll('\n', '\n    '))
  const list = members.length === 0 ? '[]' : `[\n    ${members.join(',\n    ')}\n  ]`
  // By hand: a number of JavaScript cannot hold a sequence beyond 2^53.
  return `{\n  "spiffe_sequence": ${content.sequence},\n  "spiffe_refresh_hint": ${content.refreshHint},\n  "keys": ${list}\n}\n`
}

// No `kid`, exactly one certificate in `x5c`: X509-SVID §6.1.
function x509Key(der: Buffer): Record<string, unknown> {
  const jwk = new X509Certificate(der).publicKey.export({ format: 'jwk' })
  return { use: 'x509-svid', ...jwk, x5c: [der.toString('base64')] }
}
