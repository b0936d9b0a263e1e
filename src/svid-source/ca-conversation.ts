/** What a sidecar asks of its certificate authority, with the bundle that the authority must stand under, and what it makes of the answers. */
import type { KeyObject } from 'node:crypto'
import type { CaIdentityConfig } from '#config/sidecar-config'
import { generatePrivateKey, privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import type { TrustStore } from '#pki/trust-store'
import type { WorkloadIdentity } from '#pki/workload-identity'
import type { JwtSvid } from '#workload-api/source'
import { readJwtAnswer, readSvidAnswer, readTrustAnswer, type TrustAnswer } from './ca-answer.ts'
import { type CaClient, type CaFault, type CaReply, fault } from './ca-client.ts'
import { type Anchor, readAnchor, readToken } from './ca-inputs.ts'
import { acceptSvid, type Circumstances, type Held } from './ca-state.ts'

export interface Obtained {
  readonly state: Held
  /** When the authority would have it renewed, ms since the epoch. */
  readonly renewAt: number
}

export interface Conversation {
  /**
   * A certificate for a new key: by the one that is held, else, or where that is refused, by attestation.
   * @param held asked again when the answer is there: a poll may have brought newer trust meanwhile
   */
  obtain(held: () => Held | undefined): Promise<Obtained | CaFault>
  /** @param acknowledged the newest sequence that was in force. @param instance tells replicas of one identity apart */
  poll(held: Held, acknowledged: number, instance: string): Promise<TrustAnswer | CaFault>
  /** A JWT-SVID of the identity that is held. */
  mint(held: Held, audience: readonly string[]): Promise<JwtSvid | CaFault>
  /** A bundle of the authority's own is in force: it is verified against that from now on. */
  adopted(): void
}

export interface ConversationOptions {
  readonly ca: CaIdentityConfig
  readonly client: CaClient
  readonly anchor: Anchor
  readonly circumstances: () => Circumstances
}

const ATTESTATION = { joinToken: 'join_token', serviceAccountToken: 'service_account_token', oidc: 'oidc' } as const

export function createConversation({ ca, client, anchor, circumstances }: ConversationOptions): Conversation {
  /** What the authority itself is verified against where that is not what is in force: a newer anchor that the operator wrote. */
  let contact: TrustStore | undefined
  let anchorDigest = anchor.digest
  /** Of the certificate that is being asked for: kept over tries, so that an answer that was lost can be given again. */
  let nextKey: KeyObject | undefined

  async function ask(path: string, body: unknown, identity: WorkloadIdentity | undefined, trust: TrustStore | undefined): Promise<CaReply> {
    const reply = await client.post(path, body, { identity, trust: contact ?? trust ?? anchor.trust })
    if (reply.ok || reply.reason !== 'ERR_CA_SERVER') return reply
    const fresh = await readAnchor(ca).catch(() => undefined)
    if (fresh === undefined || fresh.digest === anchorDigest) return reply
    // Its operator replaced the bundle since: as after a rotation that this sidecar has missed.
    anchorDigest = fresh.digest
    contact = fresh.trust
    return client.post(path, body, { identity, trust: fresh.trust })
  }

  /** A certificate for a new key: by the one that we have, else by attestation. */
  async function obtain(current: () => Held | undefined): Promise<Obtained | CaFault> {
    const held = current()
    nextKey ??= await generatePrivateKey()
    const csr = requestSvid(nextKey)
    const renewed = held !== undefined && held.identity.facts.notAfter > circumstances().now ? held.identity : undefined
    const byCertificate = renewed && (await ask('/v1/x509-svid', { csr }, renewed, held?.trust))
    if (byCertificate !== undefined && (byCertificate.ok || !byCertificate.final)) return take(byCertificate, current(), renewed)
    const token = await readToken(ca)
    const reply =
      typeof token === 'string'
        ? await ask('/v1/x509-svid', { attestation: { type: ATTESTATION[ca.attest.method], token }, csr }, undefined, held?.trust)
        : token
    const taken = take(reply, current(), undefined)
    if (!('ok' in taken) || byCertificate === undefined) return taken
    return { ...taken, detail: `${byCertificate.detail}; and attesting anew: ${taken.detail}` }
  }

  function take(reply: CaReply, held: Held | undefined, renewed: WorkloadIdentity | undefined): Obtained | CaFault {
    if (!reply.ok) return reply
    const answer = readSvidAnswer(reply.value)
    if (typeof answer === 'string') return unreadable(answer)
    const state = nextKey === undefined ? undefined : acceptSvid(answer, privateKeyPem(nextKey), held, renewed, circumstances())
    if (state === undefined || 'ok' in state) return state ?? unreadable('nothing was asked')
    nextKey = undefined
    return { state, renewAt: answer.renewAt }
  }

  const unreadable = (why: string): CaFault =>
    fault('ERR_CA_ANSWER', `The answer of the authority at ${client.name} cannot be used: ${why}`)

  return {
    obtain,
    async poll(held, sequence, instance) {
      const reply = await ask('/v1/trust', { sequence, instance }, held.identity, held.trust)
      if (!reply.ok) return reply
      const answer = readTrustAnswer(reply.value)
      return typeof answer === 'string' ? unreadable(answer) : answer
    },
    async mint(held, audience) {
      const reply = await ask('/v1/jwt-svid', { audience }, held.identity, held.trust)
      if (!reply.ok) return reply
      const answer = readJwtAnswer(reply.value)
      return typeof answer === 'string' ? unreadable(answer) : answer
    },
    adopted() {
      contact = undefined
    },
  }
}
