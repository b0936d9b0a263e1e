/** Envoy's secrets out of our state: certificates and what to verify peers against, under the names that users of SPIRE know. */
import { hash } from 'node:crypto'
import { create, toBinary } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import type { Bundle } from '#pki/bundle'
import type { WorkloadIdentity } from '#pki/workload-identity'
import {
  type Secret,
  SecretSchema,
  type SPIFFECertValidatorConfig,
  SPIFFECertValidatorConfigSchema,
} from './generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts'
import type { OfferedIdentity, WorkloadState } from './source.ts'

export const SECRET_TYPE = `type.googleapis.com/${SecretSchema.typeName}`

/** Names beside SPIFFE IDs, as SPIRE's agent has them. */
const DEFAULT_CERTIFICATE = 'default'
const OWN_AUTHORITIES = 'ROOTCA'
const ALL_AUTHORITIES = 'ALL'

export interface NamedSecret {
  readonly name: string
  /** Equal for equal content, across restarts. */
  readonly version: string
  readonly resource: Any
}

/** What stands under a name: the certificate of one of the identities, or the authorities of one or all trust domains; undefined if nothing does. */
export function secretNamed(name: string, state: WorkloadState, identities: readonly OfferedIdentity[]): NamedSecret | undefined {
  const secret = certificateNamed(name, identities) ?? authoritiesNamed(name, state)
  if (secret === undefined) return undefined
  const version = hash('sha256', toBinary(SecretSchema, secret), 'hex').slice(0, 16)
  return { name, version, resource: anyPack(SecretSchema, secret) }
}

/** The names of everything, for who asks for no name. */
export function allNames({ trust }: WorkloadState, identities: readonly OfferedIdentity[]): readonly string[] {
  return [...identities.map(({ identity }) => identity.id.uri), ...[...trust.bundles.keys()].map((name) => `spiffe://${name}`)]
}

function certificateNamed(name: string, identities: readonly OfferedIdentity[]): Secret | undefined {
  const found = name === DEFAULT_CERTIFICATE ? identities[0] : identities.find(({ identity }) => identity.id.uri === name)
  return found === undefined ? undefined : certificateSecret(name, found.identity)
}

function certificateSecret(name: string, { certificatePem, keyPem }: WorkloadIdentity): Secret {
  return create(SecretSchema, {
    name,
    type: { case: 'tlsCertificate', value: { certificateChain: inline(certificatePem), privateKey: inline(keyPem) } },
  })
}

function authoritiesNamed(name: string, { trust }: WorkloadState): Secret | undefined {
  if (name === ALL_AUTHORITIES) return authoritiesSecret(name, [...trust.bundles.values()])
  const trustDomain = name === OWN_AUTHORITIES ? trust.ownTrustDomain : /^spiffe:\/\/([^/]+)$/.exec(name)?.[1]
  const bundle = trustDomain === undefined ? undefined : trust.bundles.get(trustDomain)
  return bundle === undefined ? undefined : authoritiesSecret(name, [bundle])
}

/** Envoy's SPIFFE validator keeps trust domains apart; a plain list of authorities would let each of them speak for all. */
function authoritiesSecret(name: string, bundles: readonly Bundle[]): Secret {
  const config: SPIFFECertValidatorConfig = create(SPIFFECertValidatorConfigSchema, {
    trustDomains: bundles.map(({ trustDomain, roots }) => ({
      name: trustDomain,
      trustBundle: inline(roots.map(({ pem }) => pem).join('')),
    })),
  })
  return create(SecretSchema, {
    name,
    type: {
      case: 'validationContext',
      value: {
        customValidatorConfig: {
          name: 'envoy.tls.cert_validator.spiffe',
          typedConfig: anyPack(SPIFFECertValidatorConfigSchema, config),
        },
      },
    },
  })
}

function inline(pem: string): { readonly specifier: { readonly case: 'inlineBytes'; readonly value: Uint8Array<ArrayBuffer> } } {
  return { specifier: { case: 'inlineBytes', value: new TextEncoder().encode(pem) } }
}
