/** The X.509 profile of the Workload API (SPIFFE_Workload_API §5). */
import { create, toBinary } from '@bufbuild/protobuf'
import { createPrivateKey } from 'node:crypto'
import type { HandlerContext } from '@connectrpc/connect'
import type { Clock } from '#base/clock'
import type { Bundle } from '#pki/bundle'
import type { WorkloadIdentity } from '#pki/workload-identity'
import { entitledState, validIdentities } from './entitlement.ts'
import { followState } from './follow.ts'
import {
  type X509BundlesResponse,
  X509BundlesResponseSchema,
  type X509SVIDResponse,
  X509SVIDResponseSchema,
} from './generated/spiffe/workload_pb.ts'
import type { OfferedIdentity, WorkloadSource, WorkloadState } from './source.ts'

export interface X509Service {
  fetchX509SVID(request: unknown, context: HandlerContext): AsyncIterable<X509SVIDResponse>
  fetchX509Bundles(request: unknown, context: HandlerContext): AsyncIterable<X509BundlesResponse>
}

export function createX509Service(source: WorkloadSource, clock: Clock): X509Service {
  return {
    fetchX509SVID: (_, { signal }) =>
      followState(
        source,
        signal,
        () => {
          const state = entitledState(source)
          return svidResponse(state, validIdentities(state, clock))
        },
        (message) => toBinary(X509SVIDResponseSchema, message),
      ),
    fetchX509Bundles: (_, { signal }) =>
      followState(
        source,
        signal,
        () => bundlesResponse(entitledState(source)),
        (message) => toBinary(X509BundlesResponseSchema, message),
      ),
  }
}

function svidResponse({ trust }: WorkloadState, identities: readonly OfferedIdentity[]): X509SVIDResponse {
  const others = [...trust.bundles.values()].filter(({ trustDomain }) => trustDomain !== trust.ownTrustDomain)
  const own = trust.bundles.get(trust.ownTrustDomain)
  return create(X509SVIDResponseSchema, {
    svids: identities.map(({ identity, hint }) => ({
      spiffeId: identity.id.uri,
      x509Svid: Buffer.concat(identity.chain),
      x509SvidKey: privateKeyDer(identity),
      bundle: own === undefined ? Buffer.alloc(0) : bundleDer(own),
      hint,
    })),
    federatedBundles: bundlesByDomain(others),
  })
}

function bundlesResponse({ trust }: WorkloadState): X509BundlesResponse {
  return create(X509BundlesResponseSchema, { bundles: bundlesByDomain([...trust.bundles.values()]) })
}

function bundlesByDomain(bundles: readonly Bundle[]): Record<string, Uint8Array> {
  return Object.fromEntries(bundles.map((bundle) => [`spiffe://${bundle.trustDomain}`, bundleDer(bundle)]))
}

function bundleDer({ roots }: Bundle): Uint8Array {
  return Buffer.concat(roots.map(({ der }) => der))
}

function privateKeyDer({ keyPem }: WorkloadIdentity): Uint8Array {
  return createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' })
}
