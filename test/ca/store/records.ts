/** Records for the store's tests, each as plain as may be. */
import { createHash } from 'node:crypto'
import type { AuthorityRecord, Issuance, JoinToken, Lease, RevocationRecord } from '#ca/store/store'

export const NOW = 1_795_500_000_000
export const HOUR = 3_600_000

export function issuance(serial: string, more: Partial<Issuance> = {}): Issuance {
  return {
    kind: 'x509',
    serial,
    spiffeId: 'spiffe://example.org/ns/shop/sa/cart',
    authority: 'a1',
    attestedBy: 'joinToken',
    evidence: 'token ab12…',
    keyHash: createHash('sha256').update(serial).digest('hex'),
    notBefore: NOW - 60_000,
    notAfter: NOW + 8 * HOUR,
    issuedAt: NOW,
    ...more,
  }
}

export function joinToken(hash: string, more: Partial<JoinToken> = {}): JoinToken {
  return { hash, spiffeId: 'spiffe://example.org/ns/shop/sa/cart', createdAt: NOW, expiresAt: NOW + HOUR, usedAt: 0, ...more }
}

export function authority(id: string, more: Partial<AuthorityRecord> = {}): AuthorityRecord {
  return {
    id,
    state: 'prepared',
    kind: 'x509',
    chain: `PEM of ${id}`,
    key: `file:${id}.pem`,
    notAfter: NOW + 1000 * HOUR,
    changedAt: NOW,
    ...more,
  }
}

export function revocation(value: string, more: Partial<RevocationRecord> = {}): RevocationRecord {
  return { kind: 'serial', value, authority: 'a1', reason: 'lost', revokedAt: NOW, until: NOW + 8 * HOUR, ...more }
}

export function lease(instance: string, more: Partial<Lease> = {}): Lease {
  return { spiffeId: 'spiffe://example.org/ns/shop/sa/cart', instance, sequence: 3, expiresAt: NOW + 15_000, ...more }
}
