/**
 * The signed assertion by which the app learns who calls without trusting headers: a JWT (RFC 7519) under ES256, of a key that lives in this
 * process alone. It is signed with node:crypto, because the request path is synchronous and jose is not.
 */
import { createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import { createBoundedCache } from '#base/bounded-cache'
import type { Peer, TokenPrincipal } from '#identity/peer'

export interface AssertedCaller {
  readonly peer: Peer | undefined
  readonly token: TokenPrincipal | undefined
}

/** The request that an assertion is for, and no other. */
export interface AssertedRequest {
  readonly id: string
  readonly method: string
  readonly host: string
  /** Canonical, as it is forwarded, without query. */
  readonly path: string
}

export interface AssertionSigner {
  /**
   * A compact JWT, good for a minute at most, no longer than certificate and token of the caller.
   * @param issuer our own SPIFFE ID
   * @param now ms since the epoch
   */
  assert(caller: AssertedCaller, issuer: string, audience: string, now: number, request?: AssertedRequest): string
  /** The JWK Set: the key in use, the one before it and the one after. @param now ms since the epoch */
  keySet(now: number): string
}

/** Ms. */
const LIFE = 60_000
/** An assertion without a request is given again for so long: the app has the rest of its life to verify it. */
const REUSED = 30_000
const KEY_LIFE = 86_400_000
const CACHED = 4096

interface SigningKey {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly header: string
  readonly jwk: Readonly<Record<string, unknown>>
}

/** Makes its keys when the first is needed. */
export function createAssertionSigner(): AssertionSigner {
  const cache = createBoundedCache<string, string>(CACHED)
  let keys: { readonly next: SigningKey; readonly current: SigningKey; readonly previous: SigningKey | undefined } | undefined
  let since = 0

  /** A key is published for a day before it is used, and for a day after. */
  function keysAt(now: number): NonNullable<typeof keys> {
    if (keys === undefined) {
      keys = { next: makeKey(), current: makeKey(), previous: undefined }
      since = now
    } else if (now - since >= KEY_LIFE) {
      keys = { next: makeKey(), current: keys.next, previous: keys.current }
      since = now
      cache.clear()
    }
    return keys
  }

  return {
    assert(caller, issuer, audience, now, request) {
      const { current } = keysAt(now)
      const end = Math.min(now + LIFE, caller.peer?.certificate.notAfter ?? Infinity, caller.token?.expiresAt ?? Infinity)
      if (request !== undefined) return signed(current, claimsOf(caller, issuer, audience, now, end, request))
      const id = cacheKey(caller, issuer, audience)
      const known = cache.get(id, now)
      if (known !== undefined) return known
      const assertion = signed(current, claimsOf(caller, issuer, audience, now, end, undefined))
      cache.set(id, assertion, Math.min(now + REUSED, end))
      return assertion
    },
    keySet(now) {
      const { next, current, previous } = keysAt(now)
      return JSON.stringify({ keys: [current, next, ...(previous === undefined ? [] : [previous])].map(({ jwk }) => jwk) })
    },
  }
}

/** All that the claims are made of, but the time: whatever two callers have in common, they never share an assertion. */
function cacheKey({ peer, token }: AssertedCaller, issuer: string, audience: string): string {
  const principal =
    token === undefined ? '' : JSON.stringify([token.issuer, token.subject, token.namespace, token.serviceAccount, token.expiresAt])
  return `${peer?.certificate.fingerprint} ${issuer} ${principal} ${audience}`
}

function claimsOf(
  { peer, token }: AssertedCaller,
  issuer: string,
  audience: string,
  now: number,
  end: number,
  request: AssertedRequest | undefined,
): unknown {
  return {
    iss: issuer,
    aud: audience,
    sub: peer?.id.uri,
    iat: Math.floor(now / 1000),
    exp: Math.floor(end / 1000),
    // RFC 8705 §3.1 names a certificate so.
    peer: peer && { id: peer.id.uri, 'x5t#S256': Buffer.from(peer.certificate.fingerprint, 'hex').toString('base64url') },
    token: token && {
      iss: token.issuer,
      sub: token.subject,
      namespace: token.namespace,
      service_account: token.serviceAccount,
    },
    request,
  }
}

function signed({ header, privateKey }: SigningKey, claims: unknown): string {
  const input = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`
  const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

function makeKey(): SigningKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { kty, crv, x, y } = createPublicKey(privateKey).export({ format: 'jwk' })
  // RFC 7638.
  const kid = hash('sha256', JSON.stringify({ crv, kty, x, y }), 'base64url')
  const header = Buffer.from(JSON.stringify({ alg: 'ES256', typ: 'JWT', kid })).toString('base64url')
  return { kid, privateKey, header, jwk: { kty, crv, x, y, kid, alg: 'ES256', use: 'sig' } }
}
