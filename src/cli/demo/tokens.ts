/** Steps of the demo about bearer tokens: a service-account token that decides beside the certificate, and the same one stolen. */
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { call } from './caller.ts'
import type { Joined } from './authority.ts'
import type { Stage } from './steps.ts'

/** Stands in for the API server of a cluster, whose tokens the kubelet projects into pods. */
export interface TokenIssuer {
  /** Of a service account of namespace `shop`, for the catalog, good for ten minutes. */
  issue(serviceAccount: string): string
}

const ISSUER = 'https://kubernetes.default.svc.cluster.local'
const MEMBERS = '/members/items/2'

const POLICY = `apiVersion: postern.dev/v1
kind: Policy
metadata: { name: catalog-members, namespace: shop }
spec:
  target: { service: catalog }
  rules:
    - name: members-with-their-own-token
      allow:
        and:
          - http_path: { starts_with: /members/ }
          - token_is_peer: true
`

/** Makes an issuer, whose keys the sidecar of the catalog reads from a file, and the policy that asks for its tokens. @param dir of the demo */
export function addTokenIssuer(dir: string): TokenIssuer {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'cluster', alg: 'ES256', use: 'sig' }
  writeFileSync(join(dir, 'run', 'cluster-keys.json'), JSON.stringify({ keys: [jwk] }))
  writeFileSync(join(dir, 'policies', 'catalog-members.yaml'), POLICY)
  const tokens = `  tokens:\n    - { issuer: ${ISSUER}, audiences: catalog, kind: serviceAccount, jwks: { file: ../run/cluster-keys.json } }\n`
  appendFileSync(join(dir, 'sidecars', 'catalog.yaml'), tokens)
  return {
    issue(name) {
      const now = Math.floor(Date.now() / 1000)
      const encode = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString('base64url')
      const claims = {
        iss: ISSUER,
        sub: `system:serviceaccount:shop:${name}`,
        aud: ['catalog'],
        iat: now,
        nbf: now,
        exp: now + 600,
        jti: randomUUID(),
        'kubernetes.io': { namespace: 'shop', serviceaccount: { name, uid: randomUUID() }, pod: { name: `${name}-0`, uid: randomUUID() } },
      }
      const input = `${encode({ alg: 'ES256', kid: 'cluster' })}.${encode(claims)}`
      return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    },
  }
}

export async function showTokens(stage: Stage, cart: Joined, storefront: Joined): Promise<void> {
  const { shop } = stage
  stage.title('Service-account tokens, beside the certificate')
  const headers = { authorization: `Bearer ${shop.tokens.issue('cart')}` }
  const ask = (caller: Joined, sent: Readonly<Record<string, string>>): ReturnType<typeof call> =>
    call({ port: shop.ports.catalog, path: MEMBERS, credentials: caller.credentials, headers: sent })
  const bare = await ask(cart, {})
  stage.show(bare.status === 403, `cart → catalog ${MEMBERS}, without a token: 403`)
  const own = await ask(cart, headers)
  stage.show(own.status === 200, 'the same with the token of its own service account: 200', own.body)
  const stolen = await ask(storefront, headers)
  stage.show(stolen.status === 403, 'storefront has stolen that token and presents it: 403')
  stage.show(stolen.requestId !== '', `postern explain ${stolen.requestId}`, await stage.explain('catalog', stolen.requestId))
}
