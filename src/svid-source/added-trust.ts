/**
 * What the sidecar's document adds to whatever its identity comes with: bundles of other trust domains from their endpoints and
 * from the controller, and revocations from a file. Every part goes into force, or stays as it was, on its own; what another bundle stands against is left out, and says so.
 */
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { oneAtATime } from '#config/one-at-a-time'
import { configurationError, describeProblems, fileProblem, problemsOf } from '#config/problems'
import type { FederationEndpointConfig } from '#config/sidecar-config'
import type { Identity, InputStatus } from '#config/snapshot'
import { createFileWatch } from '#config/watch'
import type { Bundle } from '#pki/bundle'
import { NO_REVOCATIONS, type Revocations } from '#pki/revocations'
import { createTrustStore, isSameTrust, type TrustStore } from '#pki/trust-store'
import { type BundleFolder, openBundleFolder } from './bundle-folder.ts'
import { createFederationEndpoint, type FederationEndpoint } from './federation-endpoint.ts'
import { bothRevocations, readRevocationFile } from './revocation-file.ts'
import type { SvidSource } from './source.ts'

export interface AddedTrustOptions {
  readonly base: SvidSource
  readonly endpoints: readonly FederationEndpointConfig[]
  /** Absolute path. */
  readonly revocations: string | undefined
  /** Of bundles that the controller gives; absolute path. */
  readonly folder?: string | undefined
  readonly clock: Clock
  readonly random: () => number
  readonly observe?: ((trustDomain: string, result: 'ok' | ReasonCode) => void) | undefined
  /** Ms between polls of the file. Default 500. */
  readonly interval?: number
}

/** @throws ERR_CONFIG_INVALID where a file cannot be used to begin with; `base` is closed then */
export async function addTrust(options: AddedTrustOptions): Promise<SvidSource> {
  const { base, clock, random, observe } = options
  const listeners = new Set<() => void>()
  const conflicts = new Map<string, string>()
  const endpoints: FederationEndpoint[] = []
  let revocations: RevocationFile | undefined
  let folder: BundleFolder | undefined
  let current: Identity = base.current
  let from: Identity = base.current
  let opened = false

  /** In one turn: whoever listens sees identity and trust that belong together. */
  function compose(): void {
    from = base.current
    const trust = composeTrust(
      from.trust,
      bundles(),
      bothRevocations(from.trust.revocations, revocations?.current ?? NO_REVOCATIONS),
      conflicts,
    )
    const kept = isSameTrust(trust, current.trust) ? current.trust : trust
    if (kept === current.trust && from.identity === current.identity && from.lease === current.lease) return
    current = { ...from, trust: kept }
    if (opened) for (const listener of listeners) listener()
  }

  const bundles = (): readonly Bundle[] => [...endpoints.flatMap((endpoint) => endpoint.current ?? []), ...(folder?.current ?? [])]

  const endSubscription = base.subscribe(compose)
  function close(): void {
    endSubscription()
    for (const endpoint of endpoints) endpoint.close()
    revocations?.close()
    base.close()
    listeners.clear()
  }

  try {
    if (options.revocations !== undefined) revocations = await watchRevocations(options.revocations, options, compose)
    if (options.folder !== undefined) folder = await openBundleFolder(options.folder, clock, compose)
    for (const config of options.endpoints) {
      endpoints.push(
        await createFederationEndpoint({
          config,
          clock,
          random,
          observe,
          bundleOf: (trustDomain) => current.trust.bundles.get(trustDomain),
          accept(bundle) {
            const others = [...current.trust.bundles.values()].filter((other) => other.trustDomain !== bundle.trustDomain)
            createTrustStore(current.trust.ownTrustDomain, [...others, bundle])
          },
          onChange: compose,
        }).catch((error: unknown) => {
          throw configurationError(endpointProblems(error, config))
        }),
      )
    }
  } catch (error) {
    close()
    throw error
  }
  compose()
  opened = true

  return {
    kind: base.kind,
    ...(base.issueJwtSvid === undefined ? {} : { issueJwtSvid: base.issueJwtSvid }),
    get current() {
      return current
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async reload() {
      // Endpoints have their own times, and may take long to answer: who waits for files need not wait for them.
      for (const endpoint of endpoints) void endpoint.reload()
      await Promise.all([base.reload(), revocations?.reload(), folder?.reload()])
    },
    status: () => [
      ...base.status(),
      ...(revocations === undefined ? [] : [revocations.status()]),
      ...(folder?.status() ?? []).map((status) => {
        const conflict = conflicts.get(status.input.replace(/\.json$/, ''))
        return conflict === undefined ? status : { ...status, error: status.error ?? conflict }
      }),
      ...endpoints.map((endpoint, index) => {
        const status = endpoint.status()
        const conflict = conflicts.get(options.endpoints[index]?.trustDomain ?? '')
        return conflict === undefined ? status : { ...status, error: status.error ?? conflict }
      }),
    ],
    applied: (identity) => {
      if (identity.trust === current.trust) base.applied?.(from)
    },
    ...(base.origin === undefined ? {} : { origin: () => base.origin?.() ?? unknownOrigin() }),
    close,
  }
}

function unknownOrigin(): never {
  throw new TypeError('a source that tells where its identity comes from goes on telling')
}

/** One bundle after the other: what cannot stand beside those before it is left out. */
function composeTrust(base: TrustStore, added: readonly Bundle[], revocations: Revocations, conflicts: Map<string, string>): TrustStore {
  conflicts.clear()
  let bundles = [...base.bundles.values()]
  let trust = createTrustStore(base.ownTrustDomain, bundles, revocations)
  for (const bundle of added) {
    try {
      trust = createTrustStore(base.ownTrustDomain, [...bundles, bundle], revocations)
      bundles = [...bundles, bundle]
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      conflicts.set(bundle.trustDomain, `${error.message} (${error.code})`)
    }
  }
  return trust
}

function endpointProblems(error: unknown, { bundle, url }: FederationEndpointConfig): ReturnType<typeof problemsOf> {
  const file = bundle ?? url
  if (error instanceof PosternError) return problemsOf(error, file)
  return [fileProblem(file, 'ERR_CONFIG_FILE', error instanceof Error ? `${error.message}.` : String(error))]
}

interface RevocationFile {
  readonly current: Revocations
  reload(): Promise<void>
  status(): InputStatus
  close(): void
}

/** Revocations that are gone from the file are not in force any more; a file that cannot be read leaves them in force. */
async function watchRevocations(path: string, { clock, interval }: AddedTrustOptions, onChange: () => void): Promise<RevocationFile> {
  const watch = createFileWatch({ clock, onChange: () => void reload(), ...(interval === undefined ? {} : { interval }) })
  let current = NO_REVOCATIONS
  let status: InputStatus = {
    input: path,
    kind: 'revocations',
    digest: undefined,
    appliedAt: undefined,
    error: undefined,
    failedAt: undefined,
  }

  const reload = oneAtATime(async () => {
    const read = await readBoundedFile(path)
    watch.expect([path], new Map([[path, isFault(read) ? `!${read.code}` : read.digest]]))
    const now = clock.now()
    try {
      if (isFault(read)) throw new PosternError('ERR_CONFIG_FILE', `${read.fault}.`)
      if (read.digest === status.digest && status.error === undefined) return
      current = readRevocationFile(decodeUtf8(read.content) ?? '', path)
      status = { input: path, kind: 'revocations', digest: read.digest, appliedAt: now, error: undefined, failedAt: undefined }
      onChange()
    } catch (error) {
      const said = describeProblems(problemsOf(error, path))
      status = { ...status, error: said, failedAt: status.error === said ? status.failedAt : now }
    }
  })

  await reload()
  if (status.error !== undefined) {
    watch.close()
    throw configurationError([fileProblem(path, 'ERR_CONFIG_VALUE', status.error)])
  }
  return {
    get current() {
      return current
    },
    reload,
    status: () => status,
    close: () => watch.close(),
  }
}
