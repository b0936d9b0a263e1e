/** From the content of identity files to an identity and a trust store: what is good of the new, and of the old what has no good successor. */
import type { Problem } from '#base/located'
import { PosternError } from '#base/errors'
import { type FileContent, type FileFault, decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { configurationError, fileProblem, problemsOf } from '#config/problems'
import type { Identity, InputStatus } from '#config/snapshot'
import { type Bundle, readBundle } from '#pki/bundle'
import { newerBundle } from '#pki/newer-bundle'
import { verifyChain } from '#pki/path-verdict'
import { createTrustStore, isSameTrust, type TrustStore } from '#pki/trust-store'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'

/** Of one file; a bundle of a large federation partner has some 100 KiB. */
const LARGEST_FILE = 1024 * 1024

/** The files: the certificate first, then its key, then our own bundle, then those of other trust domains. */
export interface IdentityInput {
  readonly path: string
  readonly kind: InputStatus['kind']
  /** Of a bundle: whose; undefined: our own. */
  readonly trustDomain: string | undefined
}

export interface FileIdentity extends Identity {
  readonly bundles: ReadonlyMap<IdentityInput, Bundle>
  /** Digest of what of each certificate and bundle is in force, by path. */
  readonly inForce: ReadonlyMap<string, string>
  /** Why newer content is not. */
  readonly problems: readonly Problem[]
}

export type Contents = ReadonlyMap<string, FileContent | FileFault>

export async function readInputs(paths: readonly string[]): Promise<Contents> {
  const read = await Promise.all(paths.map(async (path) => [path, await readBoundedFile(path, LARGEST_FILE)] as const))
  return new Map(read)
}

/** As a file watch expects them. */
export function digestsOf(read: Contents): ReadonlyMap<string, string> {
  return new Map([...read].map(([path, content]) => [path, isFault(content) ? `!${content.code}` : content.digest]))
}

/**
 * What is in force after a look at the files.
 * @throws ERR_CONFIG_INVALID where there is no `before` and a fault
 */
export function assembleIdentity(
  inputs: readonly IdentityInput[],
  read: Contents,
  before: FileIdentity | undefined,
  now: number,
): FileIdentity {
  const [certificate, key, ownBundle] = inputs
  if (certificate === undefined || key === undefined || ownBundle === undefined) throw new TypeError('Certificate, key and bundle lead.')
  const problems: Problem[] = []
  const texts = new Map(inputs.map(({ path }) => [path, textOf(path, read, problems)]))
  const pair = readPair(certificate.path, key.path, texts, problems)
  const ownTrustDomain = pair?.id.trustDomain ?? before?.identity.id.trustDomain

  const bundles = new Map<IdentityInput, Bundle>()
  const inForce = new Map<string, string>()
  for (const input of inputs) {
    const { path, kind, trustDomain = ownTrustDomain } = input
    const text = texts.get(path)
    if (kind !== 'bundle' || trustDomain === undefined) continue
    const last = before?.bundles.get(input)
    const fresh =
      text === undefined ? undefined : attempt(path, problems, () => newerBundle(readBundle(text, trustDomain, path), last, path))
    const bundle = fresh ?? last
    if (bundle !== undefined) bundles.set(input, bundle)
    const digest = fresh === undefined ? before?.inForce.get(path) : digestIn(read, path)
    if (digest !== undefined) inForce.set(path, digest)
  }
  const trust = bundles.has(ownBundle) ? makeTrust(ownTrustDomain ?? '', bundles, ownBundle, { before, problems }) : undefined
  const identity = trust && choose(pair, before?.identity, { trust, now, path: certificate.path, problems })
  const usable = trust && identity && { identity, trust }

  if (before === undefined) {
    if (usable === undefined || problems.length > 0) throw configurationError(problems)
  } else if (usable === undefined) {
    // No usable store, or one for a trust domain that we are not in: all stays as it was.
    return { ...before, problems }
  }
  const source = usable.identity === pair ? digestIn(read, certificate.path) : before?.inForce.get(certificate.path)
  if (source !== undefined) inForce.set(certificate.path, source)
  return { ...usable, bundles, inForce, problems }
}

function attempt<T>(path: string, problems: Problem[], make: () => T): T | undefined {
  try {
    return make()
  } catch (error) {
    problems.push(...problemsOf(error, path))
    return undefined
  }
}

function readPair(
  certificate: string,
  key: string,
  texts: ReadonlyMap<string, string | undefined>,
  problems: Problem[],
): WorkloadIdentity | undefined {
  const [certificatePem, keyPem] = [texts.get(certificate), texts.get(key)]
  if (certificatePem === undefined || keyPem === undefined) return undefined
  try {
    return readWorkloadIdentity({ certificatePem, keyPem })
  } catch (error) {
    const isOfKey = error instanceof PosternError && error.code === 'ERR_IDENTITY_KEY'
    problems.push(...problemsOf(error, isOfKey ? key : certificate))
    return undefined
  }
}

/** The store in force remembers what it verified: it stays where nothing changed. */
function makeTrust(
  ownTrustDomain: string,
  bundles: ReadonlyMap<IdentityInput, Bundle>,
  ownBundle: IdentityInput,
  { before, problems }: { readonly before: FileIdentity | undefined; readonly problems: Problem[] },
): TrustStore | undefined {
  const made = attempt(ownBundle.path, problems, () => createTrustStore(ownTrustDomain, [...bundles.values()]))
  return made !== undefined && before !== undefined && isSameTrust(made, before.trust) ? before.trust : made
}

interface Choice {
  readonly trust: TrustStore
  readonly now: number
  readonly path: string
  readonly problems: Problem[]
}

/** The new identity if peers with our bundle would take it, else the one in force if it is of the same trust domain. */
function choose(pair: WorkloadIdentity | undefined, before: WorkloadIdentity | undefined, choice: Choice): WorkloadIdentity | undefined {
  const { trust, now, path, problems } = choice
  if (pair === undefined) return before?.id.trustDomain === trust.ownTrustDomain ? before : undefined
  for (const role of ['client', 'server'] as const) {
    const verdict = verifyChain(pair.chain, trust, now, role)
    if (verdict.ok) continue
    problems.push(
      fileProblem(
        path,
        verdict.reason,
        `Our own certificate would be refused by peers${verdict.detail === '' ? '' : `: ${verdict.detail}`}.`,
      ),
    )
    return before?.id.trustDomain === trust.ownTrustDomain ? before : undefined
  }
  return before?.certificatePem === pair.certificatePem && before.keyPem === pair.keyPem ? before : pair
}

function textOf(path: string, read: Contents, problems: Problem[]): string | undefined {
  const content = read.get(path)
  if (content === undefined) return undefined
  if (isFault(content)) {
    problems.push(fileProblem(path, 'ERR_CONFIG_FILE', `${content.fault}.`))
    return undefined
  }
  const text = decodeUtf8(content.content)
  if (text === undefined)
    problems.push(fileProblem(path, 'ERR_CONFIG_FILE', `\`${path}\` is not text; give PEM, or JSON for a SPIFFE bundle.`))
  return text
}

function digestIn(read: Contents, path: string): string | undefined {
  const content = read.get(path)
  return content === undefined || isFault(content) ? undefined : content.digest
}
