/** `postern ca rotate`: replaces the authorities, a step at a time or all of them in a row. */
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '#base/clock'
import { PosternError } from '#base/errors'
import {
  cancelRotation,
  ROTATION_STEPS,
  type RotationRules,
  type RotationStatus,
  type RotationStep,
  rotationStatus,
  takeStep,
} from '#ca/rotation'
import type { Lease, Store } from '#ca/store/store'
import type { CaConfig } from '#config/ca-config'
import { jsonOption, spanOption } from '#certs-tooling/options'
import { jsonText, timeText } from '#certs-tooling/text'
import { parseArguments, usage } from '../arguments.ts'
import type { Command, CommandIo, ExitStatus } from '../command.ts'
import { openCaStore, readCaConfig } from './open.ts'
import { prepare } from './rotate-prepare.ts'
import { table } from './table.ts'

const OPTIONS = {
  config: { type: 'string' },
  force: { type: 'boolean', default: false },
  wait: { type: 'string' },
  'root-cert': { type: 'string' },
  'root-key': { type: 'string' },
  'root-ttl': { type: 'string' },
  'intermediate-ttl': { type: 'string' },
  output: { type: 'string', default: 'text' },
} as const

const ACTIONS = ['status', 'prepare', ...ROTATION_STEPS, 'cancel', 'run'] as const

export const rotateCommand: Command = {
  summary: 'replaces the root and the intermediate without downtime',
  help: `Usage: postern ca rotate ACTION --config FILE [options]

  status    where the rotation stands, what comes next, and who is not there yet
  prepare   makes a new root and intermediate, known here alone
  publish   puts the new root into the bundle, beside the old one
  activate  signs with the new one, once everyone has the new root
  taint     has everyone renew certificates of the old one now
  revoke    takes the old one out of the bundle, once nobody has a certificate of it
  cancel    drops what is prepared or published and has signed nothing
  run       all of it in a row, waiting where there is something to wait for

  --config FILE            the document of the authority, which should be running
  --wait SPAN              waits so long for a step that cannot be taken yet (no wait; run: 24h)
  --force                  goes on without those that are not there yet, and names them
  --root-cert, --root-key  prepare: an existing root instead of a new one; without a new root, only the intermediate is replaced
  --root-ttl, --intermediate-ttl SPAN   prepare: other lives than those of the ones in force
  --output json            status, and what a step changed, as JSON

Exit status 1: the step cannot be taken yet.

Example:
  postern ca rotate run --config ca/ca.yaml
`,
  async run(args, io) {
    const { values, positionals } = parseArguments(args, OPTIONS, { name: 'ACTION', min: 1, max: 1 })
    const action = ACTIONS.find((known) => known === positionals[0])
    if (action === undefined) throw usage(`\`${positionals[0] ?? ''}\` is none of ${ACTIONS.join(', ')}.`)
    const json = jsonOption(values.output)
    const config = await readCaConfig(values.config, io)
    const wait = values.wait === undefined ? (action === 'run' ? DAY : 0) : spanOption('--wait', values.wait)
    await using store = await openCaStore(config, 'tool', false)
    const task: Task = { store, config, io, json, force: values.force, wait, rules: rulesOf(config) }
    try {
      if (action === 'status') return await status(task)
      if (action === 'prepare') return await prepare(task, values)
      if (action === 'cancel') return await cancel(task)
      if (action === 'run') return await all(task, values)
      return await step(task, action)
    } catch (error) {
      if (!(error instanceof PosternError) || error.code !== 'ERR_CA_ROTATION') throw error
      io.stderr.write(`${error.message} (${error.code})\n`)
      return 1
    }
  },
}

const DAY = 86_400_000
const LOOK = 500

export interface Task {
  readonly store: Store
  readonly config: CaConfig
  readonly io: CommandIo
  readonly json: boolean
  readonly force: boolean
  /** Ms. */
  readonly wait: number
  readonly rules: RotationRules
}

function rulesOf({ refreshHint, svid }: CaConfig): RotationRules {
  return { refreshHint, svidLife: svid.x509 }
}

async function status({ store, io, json, rules }: Task): Promise<ExitStatus> {
  const found = await rotationStatus(store, systemClock.now(), rules)
  if (json) {
    const authorities = found.authorities.map(({ id, kind, state, notAfter, changedAt }) => ({
      id,
      kind,
      state,
      not_after: timeText(notAfter),
      changed_at: timeText(changedAt),
    }))
    const { sequence, next, waitsFor, behind, absent } = found
    io.stdout.write(
      jsonText({ sequence, authorities, next, waits_for: waitsFor, behind: behind.map(leaseJson), absent: absent.map(leaseJson) }),
    )
    return 0
  }
  io.stdout.write(`bundle ${found.sequence}\n\n`)
  io.stdout.write(
    table(
      ['AUTHORITY', 'KIND', 'STATE', 'SINCE', 'UNTIL'],
      found.authorities.map(({ id, kind, state, changedAt, notAfter }) => [id, kind, state, timeText(changedAt), timeText(notAfter)]),
    ),
  )
  io.stdout.write(`\nnext: ${found.next}${found.waitsFor.length === 0 ? '' : `, which waits: ${found.waitsFor.join('; ')}`}\n`)
  writeMissing('not there yet', found.behind, io)
  writeMissing('absent', found.absent, io)
  return 0
}

async function cancel({ store, io, json }: Task): Promise<ExitStatus> {
  const dropped = await cancelRotation(store, systemClock.now())
  if (json) io.stdout.write(jsonText(dropped.map(({ id, kind, state }) => ({ id, kind, state }))))
  else for (const { id, kind } of dropped) io.stdout.write(`dropped ${kind} authority ${id}\n`)
  return 0
}

/** Waits as long as it may, then takes the step. */
async function step(task: Task, name: RotationStep): Promise<ExitStatus> {
  const { store, io, json, force, rules } = task
  const end = systemClock.now() + task.wait
  let said = ''
  for (;;) {
    const found = await rotationStatus(store, systemClock.now(), rules)
    if (force || found.next !== name || found.waitsFor.length === 0 || systemClock.now() >= end) break
    said = sayWaiting(found, said, io)
    await sleep(LOOK)
  }
  const taken = await takeStep(store, name, { now: systemClock.now(), rules, force })
  const changed = taken.changed.map(({ id, kind, state }) => ({ id, kind, state }))
  if (json) io.stdout.write(jsonText({ sequence: taken.sequence, changed, left_behind: taken.leftBehind.map(leaseJson) }))
  else {
    for (const { id, kind, state } of changed) io.stdout.write(`${kind} authority ${id} is ${state}; bundle ${taken.sequence}\n`)
    writeMissing('left behind', taken.leftBehind, io)
  }
  return 0
}

async function all(task: Task, values: Parameters<typeof prepare>[1]): Promise<ExitStatus> {
  const { store, rules } = task
  const first = await rotationStatus(store, systemClock.now(), rules)
  // A retired authority from before would be tainted and revoked on the way, which is what a rotation is for.
  if (!first.authorities.some(({ state }) => state === 'prepared' || state === 'published')) await prepare(task, values)
  for (const name of ROTATION_STEPS) {
    const { authorities } = await rotationStatus(store, systemClock.now(), rules)
    if (authorities.some(({ state }) => state === STARTS[name])) await step(task, name)
  }
  return 0
}

const STARTS: Readonly<Record<RotationStep, string>> = { publish: 'prepared', activate: 'published', taint: 'retired', revoke: 'tainted' }

/** What is waited for, when it changes. */
function sayWaiting(found: RotationStatus, said: string, io: CommandIo): string {
  const text = `${found.next} waits: ${found.waitsFor.join('; ')}\n`
  if (text !== said) io.stderr.write(text)
  return text
}

function leaseJson({ spiffeId, instance, sequence, expiresAt }: Lease): object {
  return { id: spiffeId, instance, sequence, lease_until: timeText(expiresAt) }
}

function writeMissing(what: string, leases: readonly Lease[], io: CommandIo): void {
  if (leases.length === 0) return
  io.stdout.write(`\n${what}:\n`)
  io.stdout.write(
    table(
      ['  ID', 'INSTANCE', 'BUNDLE', 'LEASE UNTIL'],
      leases.map(({ spiffeId, instance, sequence, expiresAt }) => [`  ${spiffeId}`, instance, String(sequence), timeText(expiresAt)]),
    ),
  )
}
