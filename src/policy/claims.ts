/** Claims of a token as lists of elements, and the facts that are made of several claims. */
import type { TokenPrincipal } from '#identity/peer'

/** A path is split into at most so many levels. */
const MAX_LEVELS = 5
/** Claims that hold several values in one string (RFC 8693 §4.2, and what Istio splits by default). */
const SPACE_SEPARATED: ReadonlySet<string> = new Set(['scope', 'permission'])

/** How a claim is found: under its whole name first, then level by level at `/`, then at `.`. */
export interface ClaimPath {
  readonly whole: string
  /** Empty where the path has one level only, or too many. */
  readonly slashes: readonly string[]
  readonly dots: readonly string[]
}

export function parseClaimPath(path: string): ClaimPath {
  const levels = (separator: string): string[] => {
    const parts = path.split(separator)
    return parts.length > 1 && parts.length <= MAX_LEVELS ? parts : []
  }
  return { whole: path, slashes: levels('/'), dots: levels('.') }
}

/** The elements of a claim: a scalar is a list of one. Undefined if there is none, or if it is null or an object. */
export function claimElements(token: TokenPrincipal, path: ClaimPath): readonly unknown[] | undefined {
  const value = own(token.claims, path.whole) ?? descend(token.claims, path.slashes) ?? descend(token.claims, path.dots)
  if (Array.isArray(value)) return value
  if (typeof value === 'string' && SPACE_SEPARATED.has(path.whole)) return value.split(' ').filter((word) => word !== '')
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [value] : undefined
}

/** Own properties only: a claim named `constructor` is absent unless the token has it. */
function own(object: unknown, key: string): unknown {
  if (typeof object !== 'object' || object === null || Array.isArray(object) || !Object.hasOwn(object, key)) return undefined
  return (object as Readonly<Record<string, unknown>>)[key] ?? undefined
}

function descend(claims: unknown, levels: readonly string[]): unknown {
  if (levels.length === 0) return undefined
  let value = claims
  for (const level of levels) value = own(value, level)
  return value
}

/** The `email` claim, unless the issuer says that it is not verified. */
export function emailOf(token: TokenPrincipal): string | undefined {
  const { claims } = token
  const email = own(claims, 'email')
  if (typeof email !== 'string' || email === '') return undefined
  return Object.hasOwn(claims, 'email_verified') && claims['email_verified'] !== true ? undefined : email
}

/** What follows the last `@` of the email: `"a@b"@example.org` is of example.org. */
export function domainOf(token: TokenPrincipal): string | undefined {
  const email = emailOf(token)
  const at = email === undefined ? -1 : email.lastIndexOf('@')
  return email === undefined || at === -1 || at === email.length - 1 ? undefined : email.slice(at + 1)
}
