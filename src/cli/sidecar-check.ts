/** `postern sidecar --check`: reads everything and says what the sidecar would do. Asks nobody for an identity: a join token would be spent. */
import { systemClock } from '#base/clock'
import { formatAddress } from '#base/units'
import { compilePolicies } from '#config/compile'
import { loadConfiguration } from '#config/load'
import { configurationError } from '#config/problems'
import type { SidecarConfig } from '#config/sidecar-config'
import type { Snapshot } from '#config/snapshot'
import { createSnapshotSource } from '#config/snapshot-source'
import { createBundleFiles } from '#svid-source/bundle-files'
import { openSvidSource } from '#svid-source/open'
import { createLog } from '#telemetry/log'
import type { CommandIo, ExitStatus } from './command.ts'
import { openTokenReview } from './token-review.ts'

/** @throws ERR_CONFIG_INVALID with every fault of every file */
export async function checkDocument(file: string, io: CommandIo): Promise<ExitStatus> {
  const loaded = await loadConfiguration({ file, displayFolder: io.cwd })
  const { config } = loaded.sidecar
  if (config?.identity.kind === 'files' || config === undefined) {
    io.stdout.write(describe(await readAll(file, io)))
    return 0
  }
  const problems = [
    ...loaded.sidecar.problems,
    ...loaded.roots.flatMap((root) => [...root.problems, ...root.files.flatMap((read) => read.problems)]),
  ]
  if (problems.some(({ severity }) => severity === 'error')) throw configurationError(problems)
  const lines = await describeSource(config)
  const documents = loaded.roots.flatMap(({ files }) => files.flatMap((read) => read.documents))
  const policies = await compilePolicies(documents, config, 1)
  io.stdout.write(describe({ config, policies, documents }, lines))
  return 0
}

async function readAll(file: string, io: CommandIo): Promise<Snapshot> {
  const log = createLog({ name: 'check', clock: systemClock, random: Math.random, level: 'silent' })
  const source = await createSnapshotSource({
    file,
    displayFolder: io.cwd,
    clock: systemClock,
    log,
    openIdentity: (config) => openSvidSource(config, { clock: systemClock, log }),
    openReview: openTokenReview(systemClock, log),
  })
  const { current } = source
  source.close()
  return current
}

/** Where its identity would come from. @throws ERR_CONFIG_INVALID where the bundles could not be used */
async function describeSource({ identity, federation, name }: SidecarConfig): Promise<readonly string[]> {
  const files = await createBundleFiles({ federation, clock: systemClock, onChange: () => {} })
  files.close()
  if (identity.kind !== 'ca') return [`${name} takes its identity from a Workload API`]
  const { readAnchor } = await import('#svid-source/ca-inputs')
  const { trust } = await readAnchor(identity)
  const trusted = [trust.ownTrustDomain, ...federation.map(({ trustDomain }) => trustDomain)]
  const { method, file } = identity.attest
  return [
    `${name} takes its identity from spiffe://${trust.ownTrustDomain}/postern/ca at ${formatAddress(identity.address)}, by ${method} from ${file}`,
    `trusts ${trusted.join(', ')}`,
  ]
}

/** What the sidecar would do, one line a thing. @param source instead of the identity, where there is none yet */
function describe(
  { config, policies, documents, ...rest }: Pick<Snapshot, 'config' | 'policies' | 'documents'> & Partial<Snapshot>,
  source: readonly string[] = [],
): string {
  const { identity, trust, shortDigest } = rest
  const own =
    identity === undefined || trust === undefined
      ? source
      : [
          `${config.name} is ${identity.id.uri} until ${new Date(identity.facts.notAfter).toISOString()}`,
          `trusts ${[...trust.bundles.values()].map((bundle) => `${bundle.trustDomain} (${bundle.roots.length} roots)`).join(', ')}`,
        ]
  const lines = [
    ...own,
    ...config.inbound.map(
      ({ listen: at, app, protocol }, index) =>
        `takes ${protocol} on ${formatAddress(at)} for ${formatAddress(app)} under ${policies[index]?.rules ?? 0} rules`,
    ),
    ...config.tokens.map(
      ({ issuer, kind, audiences, jwks, review }) =>
        `verifies ${kind} tokens of ${issuer} for ${audiences.join(' or ')}, with the keys of ${jwks.file ?? jwks.url ?? 'its discovery document'}${review === undefined ? '' : `, asking ${review.server} whether they still count`}`,
    ),
    ...config.outbound.map(
      ({ listen: at, to, peer }) =>
        `carries ${formatAddress(at)} to ${to.map(formatAddress).join(', ')}, expecting ${peer.map((id) => id.uri).join(' or ')}`,
    ),
    `reads ${documents.length} policies${shortDigest === undefined ? '' : `; snapshot ${shortDigest}`}`,
  ]
  return `${lines.join('\n')}\n`
}
