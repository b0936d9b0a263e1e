/**
 * Makes snapshots: the first from a configuration without fault, each further one from what is good of a changed one. What fails leaves its
 * last good version in force, document by document, and says so in `status`, in the log and in the report.
 */
import { createHash } from 'node:crypto'
import { dirname, relative } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '#base/clock'
import { formatProblem, type Problem } from '#base/located'
import type { CompiledPolicy } from '#policy/compile'
import type { PolicyDocument } from '#policy/document'
import type { Log } from '#telemetry/log'
import type { TokenVerifier } from '#token/verifier'
import { compilePolicies } from './compile.ts'
import { type Configuration, loadConfiguration } from './load.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { createPolicyStore } from './policy-store.ts'
import { configurationError, describeProblems, fileProblem, problemsOf } from './problems.ts'
import type { SidecarConfig } from './sidecar-config.ts'
import type { IdentityFeed, InputStatus, ReloadReport, Snapshot, SnapshotListener, SnapshotSource } from './snapshot.ts'
import { openTokenKeys, type OpenReview, tokenKeyStatus } from './token-keys.ts'
import { createFileWatch, type Scan } from './watch.ts'

export interface SnapshotSourceOptions {
  /** Absolute path of the sidecar's document. */
  readonly file: string
  /** Messages show paths below it relative to it. Default: the folder of `file`. */
  readonly displayFolder?: string
  /** Opens what the document says our identity comes from; called again when the document says something else. */
  readonly openIdentity: (config: SidecarConfig) => Promise<IdentityFeed>
  /** Needed where the document has issuers whose tokens are reviewed. */
  readonly openReview?: OpenReview
  readonly clock: Clock
  readonly log: Log
  /** Called after every reload. */
  readonly onReload?: (report: ReloadReport) => void
  /** [0, 1), for delays between tries. Default: none is jittered. */
  readonly random?: () => number
  /** Ms between polls of the files. Default 500. */
  readonly interval?: number
}

/** Ms until an identity that could not be opened is tried again though no watched file changed. */
const RETRY_INTERVAL = 2_000

/** What the document and its policies put in force. Replaced as a whole, so that a swap in the middle of a reload sees no half of it. */
interface Applied {
  readonly config: SidecarConfig
  readonly policies: readonly CompiledPolicy[]
  readonly documents: readonly PolicyDocument[]
  /** Of the sidecar's document. */
  readonly digest: string
  readonly policyDigests: ReadonlyMap<string, string>
  readonly needsRestart: readonly string[]
}

/** @throws ERR_CONFIG_INVALID with every fault of every file: what is wrong at the start keeps the sidecar from starting */
export async function createSnapshotSource(options: SnapshotSourceOptions): Promise<SnapshotSource> {
  const { file, openIdentity, openReview, clock, log, onReload, interval, random = () => 0.5 } = options
  const displayFolder = options.displayFolder ?? dirname(file)
  const store = createPolicyStore()
  const listeners = new Set<SnapshotListener>()
  const watch = createFileWatch({ clock, onChange: () => void reload(), ...(interval === undefined ? {} : { interval }) })
  let retry: NodeJS.Timeout | undefined
  let announced = ''
  let closed = false

  const reload = oneAtATime(async (): Promise<ReloadReport> => {
    clearTimeout(retry)
    const before = current
    const problems: Problem[] = []
    try {
      const loaded = await loadConfiguration({ file, displayFolder, inForce: applied.config, known: scan })
      if (!closed) await apply(loaded, problems)
    } catch (error) {
      problems.push(...problemsOf(error, file))
    }
    reloadedAt = clock.now()
    const { needsRestart } = applied
    const report = { changed: current !== before, generation: current.generation, problems, needsRestart }
    if (!closed) announce(report)
    return report
  })

  async function apply(loaded: Configuration, problems: Problem[]): Promise<void> {
    const { sidecar, roots } = loaded
    const next = sidecar.config ?? applied.config
    problems.push(...problemsIn(loaded))
    scan = scanOf(file, loaded)
    watch.expect([file, ...next.policies], scan)
    sidecarStatus = statusAfter(file, sidecar, sidecarStatus, clock.now())
    const config = await applyTokens(await applyIdentity(next, problems), problems)
    store.take(roots, clock.now())
    const policyDigests = store.digests()
    const documents = store.documents()
    problems.push(...duplicateNames(documents))
    const isSame = isDeepStrictEqual(policyDigests, applied.policyDigests)
    applied = {
      config,
      policies: isSame ? applied.policies : await compilePolicies(documents, config, current.generation + 1),
      documents: isSame ? applied.documents : documents,
      digest: sidecar.config === undefined ? applied.digest : sidecar.digest,
      policyDigests,
      needsRestart: sidecar.config === undefined ? applied.needsRestart : sidecar.needsRestart,
    }
    if (!closed) swap()
  }

  /** The identity that the new document names, or, if it cannot be used, the old one with what the old document said about it. */
  async function applyIdentity(config: SidecarConfig, problems: Problem[]): Promise<SidecarConfig> {
    const { identity, federation, federationEndpoints, revocations } = applied.config
    const before = [identity, federation, federationEndpoints, revocations]
    if (isDeepStrictEqual([config.identity, config.federation, config.federationEndpoints, config.revocations], before)) {
      await feed.reload()
      return config
    }
    try {
      follow(await openIdentity(config))
      return config
    } catch (error) {
      const faults = problemsOf(error, file)
      problems.push(...faults)
      sidecarStatus = { ...sidecarStatus, error: describeProblems(faults), failedAt: clock.now() }
      retry = setTimeout(() => void reload(), RETRY_INTERVAL).unref()
      return { ...config, identity, federation, federationEndpoints, revocations }
    }
  }

  /** What verifies the tokens of the new document's issuers, or, if that cannot be had, of the old one's. */
  async function applyTokens(config: SidecarConfig, problems: Problem[]): Promise<SidecarConfig> {
    const { trustDomain } = feed.current.identity.id
    if (isDeepStrictEqual([config.tokens, trustDomain], [applied.config.tokens, tokensOf])) {
      void tokens?.reload()
      return config
    }
    try {
      const opened = await openTokenKeys(config.tokens, { trustDomain, clock, log, random, all: true, openReview, before: tokens })
      endTokens?.()
      tokens?.close()
      tokens = opened
      tokensOf = trustDomain
      endTokens = opened?.subscribe(swap)
      if (closed) opened?.close()
      return config
    } catch (error) {
      problems.push(...problemsOf(error, file))
      retry = setTimeout(() => void reload(), RETRY_INTERVAL).unref()
      return { ...config, tokens: applied.config.tokens }
    }
  }

  function follow(next: IdentityFeed): void {
    endFeed()
    feed.close()
    feed = next
    endFeed = next.subscribe(swap)
    // Opening took a while, in which the whole source may have been closed.
    if (closed) next.close()
  }

  /** A new snapshot, if anything in it is new. In one turn: nobody sees a half of it. */
  function swap(): void {
    const digest = digestOf(applied, feed, tokens)
    if (digest === current.digest && tokens === current.tokens) return
    const previous = current
    current = toSnapshot(applied, feed, tokens, previous.generation + 1, digest)
    for (const listener of listeners) listener(current, previous)
    feed.applied?.(feed.current)
  }

  function announce(report: ReloadReport): void {
    const errors = report.problems.filter(({ severity }) => severity === 'error').map(formatProblem)
    const { generation, shortDigest: digest } = current
    if (errors.length > 0 && errors.join('\n') !== announced) {
      log.error({ errors, generation }, 'The newest configuration has errors; the last good version of each document stays in force.')
    }
    announced = errors.join('\n')
    if (report.changed && report.needsRestart.length > 0) {
      log.warn({ keys: report.needsRestart }, 'A change of the configuration waits for a restart.')
    }
    if (report.changed) log.info({ generation, digest }, 'New configuration is in force.')
    onReload?.(report)
  }

  const first = await loadFirst(options, displayFolder)
  let { feed, tokens } = first
  /** The trust domain that they were opened for. */
  let tokensOf = feed.current.identity.id.trustDomain
  store.take(first.loaded.roots, clock.now())
  let applied: Applied = {
    config: first.config,
    documents: store.documents(),
    policies: await compilePolicies(store.documents(), first.config, 1),
    digest: first.loaded.sidecar.digest,
    policyDigests: store.digests(),
    needsRestart: [],
  }
  let sidecarStatus = statusAfter(file, first.loaded.sidecar, undefined, clock.now())
  /** What was read last, good or bad. */
  let scan = scanOf(file, first.loaded)
  let reloadedAt = clock.now()
  let current = toSnapshot(applied, feed, tokens, 1, digestOf(applied, feed, tokens))
  let endFeed = feed.subscribe(swap)
  let endTokens = tokens?.subscribe(swap)
  feed.applied?.(feed.current)
  watch.expect([file, ...first.config.policies], scan)
  const warnings = [...problemsIn(first.loaded), ...duplicateNames(applied.documents)].map(formatProblem)
  if (warnings.length > 0) log.warn({ warnings }, 'The configuration has warnings.')

  const status = (): readonly InputStatus[] => [
    sidecarStatus,
    ...store.status(),
    ...feed.status(),
    ...(tokens?.status() ?? []).map(tokenKeyStatus),
  ]
  return {
    get current() {
      return current
    },
    get lastReload() {
      const failed = status().some(({ error }) => error !== undefined)
      return { at: reloadedAt, successful: !failed && applied.needsRestart.length === 0 }
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    reload,
    status,
    identityOrigin: () => feed.origin?.(),
    close() {
      closed = true
      clearTimeout(retry)
      watch.close()
      endFeed()
      feed.close()
      endTokens?.()
      tokens?.close()
      listeners.clear()
    },
  }
}

interface First {
  readonly loaded: Configuration
  readonly config: SidecarConfig
  readonly feed: IdentityFeed
  readonly tokens: TokenVerifier | undefined
}

/** Reads all, so that all faults are reported at once. @throws ERR_CONFIG_INVALID */
async function loadFirst(options: SnapshotSourceOptions, displayFolder: string): Promise<First> {
  const { file, openIdentity, openReview, clock, log, random = () => 0.5 } = options
  const loaded = await loadConfiguration({ file, displayFolder })
  const problems = [...problemsIn(loaded)]
  const { config } = loaded.sidecar
  // What must be asked for is asked for once all else is well: a join token is good once.
  const isFaulty = problems.some(({ severity }) => severity === 'error')
  const feed =
    config === undefined || (isFaulty && config.identity.kind !== 'files')
      ? undefined
      : await openIdentity(config).catch((error: unknown) => {
          problems.push(...problemsOf(error, file))
          return undefined
        })
  if (config !== undefined && feed !== undefined) {
    const { trustDomain } = feed.current.identity.id
    const tokens = await openTokenKeys(config.tokens, { trustDomain, clock, log, random, openReview }).catch((error: unknown) => {
      problems.push(...problemsOf(error, file))
      return undefined
    })
    if (!problems.some(({ severity }) => severity === 'error')) return { loaded, config, feed, tokens }
    tokens?.close()
  }
  feed?.close()
  throw configurationError(problems)
}

function toSnapshot(
  { config, policies, documents }: Applied,
  feed: IdentityFeed,
  tokens: TokenVerifier | undefined,
  generation: number,
  digest: string,
): Snapshot {
  const { identity, trust, lease = { validUntil: identity.facts.notAfter } } = feed.current
  return Object.freeze({
    generation,
    digest,
    shortDigest: digest.slice(0, 12),
    config,
    policies,
    documents,
    identity,
    trust,
    tokens,
    lease,
  })
}

/** Over everything in force but private keys: equal digests, equal decisions. Paths are relative, so that hosts can be compared. */
function digestOf({ config, digest, policyDigests, needsRestart }: Applied, feed: IdentityFeed, tokens: TokenVerifier | undefined): string {
  const { identity, trust } = feed.current
  const policies = [...policyDigests].map(([path, content]) => `policy ${JSON.stringify(relative(dirname(config.file), path))} ${content}`)
  const lines = [
    `sidecar ${digest} ${needsRestart.join(' ')}`,
    `identity ${createHash('sha256').update(identity.certificatePem).digest('hex')}`,
    `trust ${trust.digest}`,
    `tokens ${tokens?.digest ?? '-'}`,
    ...policies.toSorted(),
  ]
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

function problemsIn({ sidecar, roots }: Configuration): readonly Problem[] {
  return [...sidecar.problems, ...roots.flatMap((root) => [...root.problems, ...root.files.flatMap((read) => read.problems)])]
}

function scanOf(file: string, { sidecar, roots }: Configuration): Scan {
  const scan = new Map([[file, sidecar.digest]])
  for (const { root, digest, files } of roots) {
    if (digest !== undefined) scan.set(root, digest)
    for (const read of files) scan.set(read.path, read.digest)
  }
  return scan
}

function statusAfter(
  file: string,
  { config, digest, problems }: Configuration['sidecar'],
  before: InputStatus | undefined,
  now: number,
): InputStatus {
  if (config !== undefined) {
    const appliedAt = before?.digest === digest ? before.appliedAt : now
    return { input: file, kind: 'sidecar', digest, appliedAt, error: undefined, failedAt: undefined }
  }
  const error = describeProblems(problems)
  const failedAt = before?.error === error ? (before?.failedAt ?? now) : now
  return { input: file, kind: 'sidecar', digest: before?.digest, appliedAt: before?.appliedAt, error, failedAt }
}

function duplicateNames(documents: readonly PolicyDocument[]): Problem[] {
  const first = new Map<string, string>()
  return documents.flatMap(({ name, file }) => {
    const other = first.get(name)
    first.set(name, other ?? file)
    if (other === undefined) return []
    const message = `The policy \`${name}\` has the same name as one in ${other}; both are in force.`
    return [{ ...fileProblem(file, 'ERR_CONFIG_DUPLICATE_NAME', message), severity: 'warning' as const }]
  })
}
