/** Whom a token claims to be of, read as leniently as any app might: for deciding that it is ours to judge, never that it is good. */

export interface Claimed {
  readonly issuer: string | undefined
  readonly subject: string | undefined
}

const NOBODY: Claimed = { issuer: undefined, subject: undefined }

export function peekIssuer(text: string): Claimed {
  const [, payload = ''] = text.split('.', 2)
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(payload, 'base64').toString())
  } catch {
    return NOBODY
  }
  if (typeof value !== 'object' || value === null) return NOBODY
  const { iss, sub } = value as { readonly iss?: unknown; readonly sub?: unknown }
  return { issuer: typeof iss === 'string' ? iss : undefined, subject: typeof sub === 'string' ? sub : undefined }
}
