/** What the two kinds of JWT have in common here: the verifier of `token`, and from verified facts to an ID. */
import type { Clock } from '#base/clock'
import { ok, refusal, type Result } from '#base/result'
import type { JwksConfig } from '#config/ca-config'
import type { TokenPrincipal } from '#identity/peer'
import { fillIdTemplate, type IdTemplate } from '#identity/id-template'
import type { SpiffeId } from '#identity/spiffe-id'
import type { Log } from '#telemetry/log'
import { discoveryOrigin, fileOrigin, type KeyOrigin, urlOrigin } from '#token/key-origin'
import { createTokenVerifier, type IssuerOptions, type TokenVerifier } from '#token/verifier'

export interface TokenSurroundings {
  readonly clock: Clock
  readonly log: Log
  /** [0, 1). */
  readonly random: () => number
}

/** How often keys at an address are looked at, ms, and for how long the last good ones do without new ones. */
const KEYS_INTERVAL = 300_000
const KEYS_KEEP = 3_600_000

export function keyOriginOf(jwks: JwksConfig, issuer: string): KeyOrigin {
  if (jwks.kind === 'file') return fileOrigin(jwks.file)
  if (jwks.kind === 'discovery') return discoveryOrigin(issuer, KEYS_INTERVAL, { caFile: undefined, tokenFile: undefined })
  return urlOrigin(jwks.url, KEYS_INTERVAL, { caFile: jwks.ca, tokenFile: jwks.token })
}

export function createVerifier(
  issuers: readonly Omit<IssuerOptions, 'keep' | 'forwardToken'>[],
  { clock, log, random }: TokenSurroundings,
): TokenVerifier {
  return createTokenVerifier({
    issuers: issuers.map((issuer) => ({ ...issuer, keep: KEYS_KEEP, forwardToken: false })),
    clock,
    random,
    onOutcome(issuer, failure) {
      if (failure === undefined) log.info({ issuer }, 'has the keys of the issuer')
      else log.warn({ issuer, reason: failure.reason }, `the keys of the issuer cannot be had: ${failure.detail}`)
    },
  })
}

/** Verifies a token of one of the configured issuers. */
export async function verifyWith(verifier: TokenVerifier, token: string, now: number): Promise<Result<TokenPrincipal>> {
  return (await verifier.verify(token, now, false)) ?? refusal('ERR_TOKEN_ISSUER_UNKNOWN')
}

export function idFrom(template: IdTemplate, factOf: (gap: string) => string | undefined): Result<SpiffeId> {
  const id = fillIdTemplate(template, factOf)
  return id.ok ? ok(id.value) : refusal('ERR_CA_ATTESTED_ID', id.detail)
}

/** Issuer and subject, as records show them. */
export function evidenceOf({ issuer, subject }: TokenPrincipal): string {
  return `${issuer} ${subject}`.slice(0, 500).replaceAll(/[^ -~]/g, '?')
}
