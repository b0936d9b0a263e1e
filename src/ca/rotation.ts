/**
 * Rotation of the authorities, a step at a time (DESIGN §7). Each step is a state in the store, so that it survives whoever takes it; each
 * waits until nobody would be cut off by it.
 *
 *   prepare → publish → (everyone has the new root) activate → taint → (everyone has a new certificate) revoke
 */
import { PosternError } from '#base/errors'
import type { AuthorityRecord, AuthorityState, Lease, Store } from './store/store.ts'

export const ROTATION_STEPS = ['publish', 'activate', 'taint', 'revoke'] as const
export type RotationStep = (typeof ROTATION_STEPS)[number]

export interface RotationStatus {
  readonly sequence: number
  readonly authorities: readonly AuthorityRecord[]
  /** The step that comes next; `prepare` where no rotation is under way. */
  readonly next: RotationStep | 'prepare'
  /** Sidecars with a live lease that are not where the current bundle wants them. */
  readonly behind: readonly Lease[]
  /** Those whose lease ran out, but whose certificate may still be valid: they have not heard of the current bundle. */
  readonly absent: readonly Lease[]
  /** Why `next` has to wait, in sentences; empty if it need not. */
  readonly waitsFor: readonly string[]
  /** When `next` can be taken at the earliest, ms since the epoch, if only time is missing; else 0. */
  readonly notBefore: number
}

export interface RotationRules {
  /** Ms. */
  readonly refreshHint: number
  /** The longest life of a certificate that a sidecar may hold, ms. */
  readonly svidLife: number
}

/** So many times must verifiers elsewhere have had the chance to fetch the bundle before an authority that is new in it signs. */
const FOREIGN_REFRESHES = 5

const FROM: Readonly<Record<RotationStep, AuthorityState>> = {
  publish: 'prepared',
  activate: 'published',
  taint: 'retired',
  revoke: 'tainted',
}

export async function rotationStatus(store: Pick<Store, 'trust' | 'leases'>, now: number, rules: RotationRules): Promise<RotationStatus> {
  const { sequence, authorities } = await store.trust()
  const leases = await store.leases(now - rules.svidLife)
  const missing = leases.filter((lease) => lease.sequence < sequence)
  const behind = missing.filter(({ expiresAt }) => expiresAt > now)
  const absent = missing.filter(({ expiresAt }) => expiresAt <= now)
  const next = ROTATION_STEPS.find((step) => authorities.some(({ state }) => state === FROM[step])) ?? 'prepare'
  const waitsFor: string[] = []
  let notBefore = 0
  if ((next === 'activate' || next === 'revoke') && behind.length > 0) {
    const one = behind.length === 1
    const what = next === 'activate' ? 'taken the bundle with the new root' : `renewed ${one ? 'its certificate' : 'their certificates'}`
    waitsFor.push(`${behind.length} ${one ? 'sidecar has' : 'sidecars have'} not ${what}`)
  }
  if (next === 'activate') {
    const published = Math.max(...authorities.filter(({ state }) => state === 'published').map(({ changedAt }) => changedAt))
    const ready = published + FOREIGN_REFRESHES * rules.refreshHint
    if (now < ready) {
      notBefore = ready
      waitsFor.push(
        `verifiers elsewhere may ask for the bundle until ${new Date(ready).toISOString()} (${FOREIGN_REFRESHES} refresh hints)`,
      )
    }
  }
  if (next === 'revoke' && absent.length > 0) {
    const last = Math.max(...absent.map(({ expiresAt }) => expiresAt)) + rules.svidLife
    waitsFor.push(
      `${absent.length} absent ${absent.length === 1 ? 'sidecar' : 'sidecars'} may hold a certificate of the old authority until ${new Date(last).toISOString()}, and could not reach the CA with the old bundle`,
    )
  }
  return { sequence, authorities, next, behind, absent, waitsFor, notBefore }
}

export interface StepOptions {
  readonly now: number
  readonly rules: RotationRules
  /** Goes on without those that are not there yet. */
  readonly force: boolean
}

export interface StepTaken {
  readonly sequence: number
  readonly changed: readonly AuthorityRecord[]
  /** Who was left behind, by `force` or because it is absent. */
  readonly leftBehind: readonly Lease[]
}

/** @throws PosternError ERR_CA_ROTATION where the step cannot be taken now, with why */
export async function takeStep(store: Store, step: RotationStep, { now, rules, force }: StepOptions): Promise<StepTaken> {
  const status = await rotationStatus(store, now, rules)
  const moving = status.authorities.filter(({ state }) => state === FROM[step])
  if (moving.length === 0) throw notNow(step, `no authority is ${FROM[step]}; the next step is \`${status.next}\``)
  if (status.next !== step && !force) throw notNow(step, `\`${status.next}\` comes first`)
  if (status.next === step && status.waitsFor.length > 0 && !force) throw notNow(step, status.waitsFor.join('; '))
  const changes = changesOf(step, status.authorities, moving, now)
  if (step === 'revoke') await revokeAuthorities(store, moving, now)
  // Revocations raised the sequence; what was decided on is what the authorities were.
  const expected = step === 'revoke' ? await store.sequence() : status.sequence
  const sequence = await store.changeAuthorities(expected, changes)
  if (sequence === undefined)
    throw notNow(step, 'somebody else changed the authorities at the same moment; look at the status, and try again')
  const waits = step === 'activate' || step === 'revoke'
  return { sequence, changed: changes, leftBehind: waits ? [...status.behind, ...status.absent] : [] }
}

function changesOf(
  step: RotationStep,
  all: readonly AuthorityRecord[],
  moving: readonly AuthorityRecord[],
  now: number,
): AuthorityRecord[] {
  const to: Readonly<Record<RotationStep, AuthorityState>> = {
    publish: 'published',
    activate: 'active',
    taint: 'tainted',
    revoke: 'revoked',
  }
  const moved = moving.map((record) => ({ ...record, state: to[step], changedAt: now }))
  if (step !== 'activate') return moved
  const kinds = new Set(moving.map(({ kind }) => kind))
  const before = all.filter(({ kind, state }) => state === 'active' && kinds.has(kind))
  return [...before.map((record) => ({ ...record, state: 'retired' as const, changedAt: now })), ...moved]
}

/** Where the root stays, as with an intermediate under an existing PKI, taking it out of the bundle would not be enough. */
async function revokeAuthorities(store: Store, records: readonly AuthorityRecord[], now: number): Promise<void> {
  for (const { kind, id, notAfter } of records) {
    if (kind !== 'x509') continue
    await store.revoke({ kind: 'authority', value: id, authority: '', reason: 'rotated', revokedAt: now, until: notAfter })
  }
}

/**
 * Adds authorities that a rotation begins with.
 * @throws PosternError ERR_CA_ROTATION where one is under way
 */
export async function addPrepared(store: Pick<Store, 'trust' | 'changeAuthorities'>, records: readonly AuthorityRecord[]): Promise<number> {
  const { sequence, authorities } = await store.trust()
  checkNoneUnderWay(authorities)
  const changed = await store.changeAuthorities(sequence, records)
  if (changed === undefined)
    throw notNow('prepare', 'somebody else changed the authorities at the same moment; look at the status, and try again')
  return changed
}

/** @throws PosternError ERR_CA_ROTATION */
export function checkNoneUnderWay(authorities: readonly AuthorityRecord[]): void {
  const open = authorities.find(({ state }) => state === 'prepared' || state === 'published')
  if (open === undefined) return
  throw notNow('prepare', `the authority ${open.id} is ${open.state} already: go on with it, or drop it with \`postern ca rotate cancel\``)
}

/** Drops what is prepared or published, and has signed nothing. @returns what was dropped */
export async function cancelRotation(store: Store, now: number): Promise<readonly AuthorityRecord[]> {
  const { sequence, authorities } = await store.trust()
  const dropped = authorities
    .filter(({ state }) => state === 'prepared' || state === 'published')
    .map((record) => ({ ...record, state: 'revoked' as const, changedAt: now }))
  if (dropped.length === 0) throw notNow('cancel', 'no authority is prepared or published')
  if ((await store.changeAuthorities(sequence, dropped)) === undefined) {
    throw notNow('cancel', 'somebody else changed the authorities at the same moment; look at the status, and try again')
  }
  return dropped
}

function notNow(step: string, why: string): PosternError {
  return new PosternError('ERR_CA_ROTATION', `\`${step}\` cannot be done now: ${why}.`)
}
