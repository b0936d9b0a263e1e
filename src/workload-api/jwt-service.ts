/** The JWT profile of the Workload API (SPIFFE_Workload_API §6). */
import { create, type JsonObject, toBinary } from '@bufbuild/protobuf'
import { Code, ConnectError, type HandlerContext } from '@connectrpc/connect'
import { createBoundedCache } from '#base/bounded-cache'
import type { Clock } from '#base/clock'
import { parseSpiffeId } from '#identity/spiffe-id'
import type { Bundle } from '#pki/bundle'
import type { Log } from '#telemetry/log'
import { entitledState, validIdentities } from './entitlement.ts'
import { endOf, followState } from './follow.ts'
import {
  type JWTBundlesResponse,
  JWTBundlesResponseSchema,
  type JWTSVIDRequest,
  type JWTSVIDResponse,
  JWTSVIDResponseSchema,
  type ValidateJWTSVIDRequest,
  type ValidateJWTSVIDResponse,
  ValidateJWTSVIDResponseSchema,
} from './generated/spiffe/workload_pb.ts'
import type { IssueJwtSvid, OfferedIdentity, WorkloadSource } from './source.ts'

export interface JwtService {
  fetchJWTSVID(request: JWTSVIDRequest, context: HandlerContext): Promise<JWTSVIDResponse>
  fetchJWTBundles(request: unknown, context: HandlerContext): AsyncIterable<JWTBundlesResponse>
  validateJWTSVID(request: ValidateJWTSVIDRequest): Promise<ValidateJWTSVIDResponse>
}

/** More would make a token that no header has room for. */
const MOST_AUDIENCES = 32
const LONGEST_AUDIENCE = 2048
const MOST_KEPT = 256

export function createJwtService(source: WorkloadSource, clock: Clock, log: Log): JwtService {
  /** Good for half of their lives: apps ask for one call after the other, and an authority limits how often. */
  const minted = createBoundedCache<string, string>(MOST_KEPT)
  return {
    async fetchJWTSVID({ audience, spiffeId }, { signal }) {
      checkAudience(audience)
      const identities = chosen(validIdentities(entitledState(source), clock), spiffeId)
      const issue = source.issueJwtSvid
      if (issue === undefined) {
        const why =
          'nobody mints JWT-SVIDs for this workload: its identity comes from files. Have it issued by an authority, or use its X.509-SVID'
        throw new ConnectError(why, Code.Unavailable)
      }
      const svids = await Promise.all(
        identities.map(async ({ identity: { id }, hint }) => {
          return { spiffeId: id.uri, svid: await mint(issue, id, audience, signal), hint }
        }),
      )
      return create(JWTSVIDResponseSchema, { svids })
    },
    fetchJWTBundles: (_, { signal }) =>
      followState(
        source,
        signal,
        () => bundlesResponse([...entitledState(source).trust.bundles.values()]),
        (message) => toBinary(JWTBundlesResponseSchema, message),
      ),
    async validateJWTSVID({ audience, svid }) {
      const { trust } = entitledState(source)
      if (audience === '') throw new ConnectError('`audience` is empty', Code.InvalidArgument)
      if (svid === '') throw new ConnectError('`svid` is empty', Code.InvalidArgument)
      // Few apps have tokens validated for them: what verifies signatures is loaded by the first that does.
      const { validateJwtSvid } = await import('./jwt-validation.ts')
      const verdict = await validateJwtSvid(svid, audience, trust, clock.now())
      if (!verdict.ok) {
        const { reason, detail } = verdict
        log.debug({ reason }, 'A JWT-SVID was found invalid for the app.')
        throw new ConnectError(detail === '' ? reason : `${reason}: ${detail}`, Code.InvalidArgument)
      }
      const { subject, claims } = verdict.value
      // A number beyond what JSON can write again (1e999) has no place in a Struct.
      const struct = JSON.parse(JSON.stringify(claims)) as JsonObject
      return create(ValidateJWTSVIDResponseSchema, { spiffeId: subject, claims: struct })
    },
  }

  async function mint(
    issue: IssueJwtSvid,
    id: OfferedIdentity['identity']['id'],
    audience: readonly string[],
    signal: AbortSignal,
  ): Promise<string> {
    const { digest } = entitledState(source).trust
    // Under other keys than those it was minted by, a token may be worth nothing already.
    const key = JSON.stringify([id.uri, digest, audience])
    const now = clock.now()
    const kept = minted.get(key, now)
    if (kept !== undefined) return kept
    try {
      const { token, expiresAt } = await issue(id, audience, signal)
      minted.set(key, token, now + (expiresAt - now) / 2)
      return token
    } catch (error) {
      if (signal.aborted) throw endOf(signal)
      log.warn({ err: error, id: id.uri }, 'No JWT-SVID could be had for the app.')
      throw new ConnectError('the authority that mints JWT-SVIDs did not give one; ask again', Code.Unavailable)
    }
  }
}

function checkAudience(audience: readonly string[]): void {
  const wrong = (why: string): ConnectError => new ConnectError(why, Code.InvalidArgument)
  if (audience.length === 0) throw wrong('`audience` is empty; name who the token is for')
  if (audience.length > MOST_AUDIENCES) throw wrong(`\`audience\` has more than ${MOST_AUDIENCES} values`)
  if (audience.includes('')) throw wrong('`audience` has an empty value')
  if (audience.some((one) => one.length > LONGEST_AUDIENCE))
    throw wrong(`a value of \`audience\` is longer than ${LONGEST_AUDIENCE} characters`)
}

/** @param spiffeId empty for all */
function chosen(identities: readonly OfferedIdentity[], spiffeId: string): readonly OfferedIdentity[] {
  if (spiffeId === '') return identities
  const id = parseSpiffeId(spiffeId)
  if (!id.ok) throw new ConnectError(`\`spiffe_id\` is no SPIFFE ID: ${id.detail}`, Code.InvalidArgument)
  const found = identities.filter(({ identity }) => identity.id.uri === id.value.uri)
  if (found.length === 0) throw new ConnectError(`no identity issued: this workload is not ${id.value.uri}`, Code.PermissionDenied)
  return found
}

function bundlesResponse(bundles: readonly Bundle[]): JWTBundlesResponse {
  return create(JWTBundlesResponseSchema, {
    bundles: Object.fromEntries(
      bundles.map(({ trustDomain, jwtKeys }) => [`spiffe://${trustDomain}`, Buffer.from(JSON.stringify({ keys: jwtKeys }))]),
    ),
  })
}
