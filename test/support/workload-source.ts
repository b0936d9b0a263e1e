/** A source of identities for the Workload API that tests change as they like. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import { readBundle } from '#pki/bundle'
import { createTrustStore } from '#pki/trust-store'
import type { IssueJwtSvid, OfferedIdentity, WorkloadSource, WorkloadState } from '#workload-api/source'
import type { TestMesh, TestSvid } from './authority.ts'
import { identityOf } from './trust.ts'

export interface TestWorkloadSource extends WorkloadSource {
  /** How many listen. */
  readonly listeners: number
  set(state: WorkloadState | undefined): void
}

export function createWorkloadSource(first: WorkloadState | undefined, issueJwtSvid?: IssueJwtSvid): TestWorkloadSource {
  const listeners = new Set<() => void>()
  let current = first
  return {
    get current() {
      return current
    },
    get listeners() {
      return listeners.size
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    issueJwtSvid,
    set(state) {
      current = state
      for (const listener of listeners) listener()
    },
  }
}

/** @param meshes the workload's own first @param jwtKeys of the own trust domain */
export function stateOf(
  svids: readonly (TestSvid & { readonly hint?: string })[],
  meshes: readonly Pick<TestMesh, 'trustDomain' | 'bundlePem'>[],
  jwtKeys: readonly Readonly<Record<string, unknown>>[] = [],
): WorkloadState {
  const bundles = meshes.map(({ trustDomain, bundlePem }, index) => ({
    ...readBundle(bundlePem, trustDomain, trustDomain),
    ...(index === 0 ? { jwtKeys } : {}),
  }))
  const identities = svids.map((svid): OfferedIdentity => ({ identity: identityOf(svid), hint: svid.hint ?? '' }))
  return { identities, trust: createTrustStore(meshes[0]?.trustDomain ?? '', bundles) }
}

export interface JwtAuthority {
  /** As it stands in a bundle. */
  readonly jwk: Readonly<Record<string, unknown>>
  readonly privateKey: KeyObject
  /** What a sidecar asks its authority for. */
  readonly issue: IssueJwtSvid
  /** Any claims. */
  sign(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>
}

/** An authority that signs JWT-SVIDs with ES256, valid for five minutes. */
export function createJwtAuthority(kid = 'key-1'): JwtAuthority {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const sign: JwtAuthority['sign'] = (claims, header = {}) =>
    new SignJWT({ ...claims }).setProtectedHeader({ alg: 'ES256', kid, typ: 'JWT', ...header }).sign(privateKey)
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), use: 'jwt-svid', kid },
    privateKey,
    sign,
    async issue(id, audience) {
      const exp = Math.floor(Date.now() / 1000) + 300
      return { token: await sign({ sub: id.uri, aud: [...audience], exp, iat: exp - 300 }), expiresAt: exp * 1000 }
    },
  }
}
