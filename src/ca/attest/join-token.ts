/**
 * Join tokens: a secret that an operator makes for one ID and one use. The store holds its SHA-256 alone; that it is used up in the same
 * commit as the issuance it pays for is the store's to see to.
 */
import { hash, randomBytes } from 'node:crypto'
import { ok, refusal, type Result } from '#base/result'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import type { JoinToken, Store } from '../store/store.ts'
import type { Attested, Attestor } from './attestor.ts'

/** `postern-join-1.TRUST-DOMAIN.SECRET`: says by itself where it belongs. The secret has 256 bits. */
const FORM = /^postern-join-1\.([a-z0-9._-]{1,255})\.([A-Za-z0-9_-]{43})$/

export interface NewJoinToken {
  /** To be shown once, and never kept. */
  readonly text: string
  readonly record: JoinToken
}

/** @param now ms since the epoch @param ttl ms */
export function makeJoinToken(id: SpiffeId, now: number, ttl: number): NewJoinToken {
  const text = `postern-join-1.${id.trustDomain}.${randomBytes(32).toString('base64url')}`
  return { text, record: { hash: hash('sha256', text, 'hex'), spiffeId: id.uri, createdAt: now, expiresAt: now + ttl, usedAt: 0 } }
}

export function createJoinTokenAttestor(store: Pick<Store, 'joinToken'>, trustDomain: string): Attestor {
  return {
    async attest(token, now): Promise<Result<Attested>> {
      const [, domain] = FORM.exec(token) ?? []
      if (domain === undefined) return refusal('ERR_JOIN_TOKEN_UNKNOWN', 'it does not have the form of a join token')
      if (domain !== trustDomain) return refusal('ERR_JOIN_TOKEN_FOREIGN', `it is of ${domain}; this is ${trustDomain}`)
      const digest = hash('sha256', token, 'hex')
      const name = `token ${digest.slice(0, 12)}`
      const known = await store.joinToken(digest)
      if (known === undefined) return refusal('ERR_JOIN_TOKEN_UNKNOWN', `${name} was not made here, or was forgotten after its end`)
      // Looked at here only to spare what comes between: the commit looks again.
      if (known.usedAt !== 0) return refusal('ERR_JOIN_TOKEN_USED', `${name} was used at ${new Date(known.usedAt).toISOString()}`)
      if (known.expiresAt <= now) {
        const times = `${new Date(known.expiresAt).toISOString()}; by the clock of the authority it is ${new Date(now).toISOString()}`
        return refusal('ERR_JOIN_TOKEN_EXPIRED', `${name} expired at ${times}`)
      }
      const id = parseSpiffeId(known.spiffeId)
      return id.ok ? ok({ id: id.value, by: 'joinToken', evidence: name, joinToken: digest }) : id
    },
  }
}
