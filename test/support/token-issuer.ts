/** An issuer of tokens for tests: keys of any algorithm, JWK Sets, and tokens that are right or wrong in one chosen way. */
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export type Claims = Readonly<Record<string, unknown>>

export interface IssuerKey {
  readonly kid: string
  readonly alg: string
  readonly jwk: Readonly<Record<string, unknown>>
  readonly privateKey: KeyObject
}

const CURVES: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

export function issuerKey(alg = 'ES256', kid = `key-${alg}`, modulusLength = 2048): IssuerKey {
  const curve = CURVES[alg]
  const { publicKey, privateKey } =
    curve === undefined ? generateKeyPairSync('rsa', { modulusLength }) : generateKeyPairSync('ec', { namedCurve: curve })
  return { kid, alg, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } }
}

export function keySetText(...keys: readonly (IssuerKey | Claims)[]): string {
  return JSON.stringify({ keys: keys.map((key) => ('privateKey' in key ? (key as IssuerKey).jwk : key)) })
}

/** @param header replaces or adds to `{ alg, kid, typ }`; a member that is undefined is left out */
export function signToken(key: IssuerKey, claims: Claims | string, header: Claims = {}): string {
  const payload = typeof claims === 'string' ? claims : JSON.stringify(claims)
  const input = `${encode(JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header }))}.${encode(payload)}`
  return `${input}.${signBytes(key, Buffer.from(input)).toString('base64url')}`
}

function signBytes({ alg, privateKey }: IssuerKey, bytes: Buffer): Buffer {
  const digest = `sha${alg.slice(2)}`
  if (alg.startsWith('ES')) return sign(digest, bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('RS')) return sign(digest, bytes, privateKey)
  return sign(digest, bytes, {
    key: privateKey,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  })
}

/** A token under HMAC, with whatever is taken for the secret: what confused verifiers accept. */
export function signWithSecret(secret: string | Buffer, claims: Claims, header: Claims): string {
  const input = `${encode(JSON.stringify({ alg: 'HS256', typ: 'JWT', ...header }))}.${encode(JSON.stringify(claims))}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

export function encode(text: string): string {
  return Buffer.from(text).toString('base64url')
}

/** The claims of a projected service-account token. @param now ms since the epoch */
export function serviceAccountClaims(now: number, namespace = 'shop', name = 'cart', more: Claims = {}): Claims {
  const seconds = Math.floor(now / 1000)
  return {
    iss: 'https://kubernetes.default.svc.cluster.local',
    sub: `system:serviceaccount:${namespace}:${name}`,
    aud: ['catalog'],
    iat: seconds,
    nbf: seconds,
    exp: seconds + 3600,
    jti: 'a2f4',
    'kubernetes.io': {
      namespace,
      serviceaccount: { name, uid: 'sa-uid' },
      pod: { name: `${name}-0`, uid: 'pod-uid' },
      node: { name: 'node-1', uid: 'node-uid' },
    },
    ...more,
  }
}
