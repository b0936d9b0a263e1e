/** Checks of our own certificate from files, its key, and the bundles: each on its own, so that one fault does not hide another. */
import { stat } from 'node:fs/promises'
import { decodeUtf8, isFault, readBoundedFile } from '#config/files'
import { problemsOf } from '#config/problems'
import type { FileIdentityConfig, SidecarConfig } from '#config/sidecar-config'
import type { Identity } from '#config/snapshot'
import { PosternError } from '#base/errors'
import { type Bundle, readBundle } from '#pki/bundle'
import { verifyChain } from '#pki/path-verdict'
import { createTrustStore, type TrustStore } from '#pki/trust-store'
import { readWorkloadIdentity, type WorkloadIdentity } from '#pki/workload-identity'
import { type CheckResult, judged, passed, skipped } from './catalogue.ts'
import { iso, span } from './times.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const LARGEST_FILE = 1024 * 1024
/** A certificate is looked at when less than this share of its life is left. */
const EXPIRY_SHARE = 0.25
/** One that lives longer than this is renewed by people or by jobs of the night: a day's warning besides. */
const LONG_LIVED = 3 * DAY
/** An authority ends everything below it, and its rotation takes days. One that lives shortly is rotated by a machine. */
const AUTHORITY_WARNING = 30 * DAY

export interface CheckedIdentity {
  readonly results: readonly CheckResult[]
  /** Undefined unless peers could be dialled with it. */
  readonly identity: Identity | undefined
}

/** @param now ms since the epoch */
export async function checkFileIdentity(files: FileIdentityConfig, { federation }: SidecarConfig, now: number): Promise<CheckedIdentity> {
  const paths = [files.certificate, files.key, files.bundle, ...federation.map(({ bundle }) => bundle)]
  const { texts, faults } = await readTexts(paths)
  const results: CheckResult[] = [judged('identity-files', faults), await checkKeyMode(files.key)]

  const pair = readPair(texts.get(files.certificate), texts.get(files.key))
  results.push(...pair.results)
  const { bundles, trust, result } = readBundles(files.bundle, federation, texts, pair.identity)
  results.push(result)
  if (pair.identity !== undefined) results.push(...checkTimes(pair.identity.facts.notBefore, pair.identity.facts.notAfter, now))
  if (pair.identity !== undefined && trust !== undefined) results.push(checkChain(pair.identity, trust, now))
  if (bundles.length > 0) results.push(checkAuthorities(bundles, now))
  const usable = pair.identity !== undefined && trust !== undefined && !results.some(({ status }) => status === 'failed')
  return { results, identity: usable ? { identity: pair.identity, trust } : undefined }
}

async function readTexts(paths: readonly string[]): Promise<{ texts: ReadonlyMap<string, string>; faults: readonly string[] }> {
  const texts = new Map<string, string>()
  const faults = new Set<string>()
  for (const path of paths) {
    const read = await readBoundedFile(path, LARGEST_FILE)
    const text = isFault(read) ? undefined : decodeUtf8(read.content)
    if (text !== undefined) texts.set(path, text)
    else faults.add(isFault(read) ? `${read.fault}.` : `\`${path}\` is not text; give PEM, or JSON for a SPIFFE bundle.`)
  }
  return { texts, faults: [...faults] }
}

async function checkKeyMode(path: string): Promise<CheckResult> {
  try {
    const { mode } = await stat(path)
    const shown = (mode & 0o777).toString(8).padStart(4, '0')
    if ((mode & 0o007) !== 0) return judged('key-mode', [`\`${path}\` has mode ${shown}: every user of this host can get at it.`])
    const group = (mode & 0o020) === 0 ? [] : [`\`${path}\` has mode ${shown}: its group can replace it.`]
    return judged('key-mode', group, 'warning')
  } catch {
    return skipped('key-mode', 'the key cannot be read')
  }
}

function readPair(
  certificatePem: string | undefined,
  keyPem: string | undefined,
): { readonly results: readonly CheckResult[]; readonly identity: WorkloadIdentity | undefined } {
  if (certificatePem === undefined) {
    return {
      identity: undefined,
      results: [skipped('svid-rules', 'there is no certificate'), skipped('key-matches', 'there is no certificate')],
    }
  }
  try {
    // Without a key the certificate is judged all the same: its own faults come first.
    const identity = readWorkloadIdentity({ certificatePem, keyPem: keyPem ?? '' })
    return { identity, results: [passed('svid-rules', identity.id.uri), passed('key-matches')] }
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    if (error.code !== 'ERR_IDENTITY_KEY') {
      const rule = judged('svid-rules', [`${error.message} (${error.code})`])
      return { identity: undefined, results: [rule, skipped('key-matches', 'the certificate cannot be used')] }
    }
    const match =
      keyPem === undefined ? skipped('key-matches', 'there is no key') : judged('key-matches', [`${error.message} (${error.code})`])
    return { identity: undefined, results: [passed('svid-rules'), match] }
  }
}

interface ReadBundles {
  readonly bundles: readonly Bundle[]
  readonly trust: TrustStore | undefined
  readonly result: CheckResult
}

function readBundles(
  ownPath: string,
  federation: SidecarConfig['federation'],
  texts: ReadonlyMap<string, string>,
  identity: WorkloadIdentity | undefined,
): ReadBundles {
  const faults: string[] = []
  const attempt = <T>(path: string, make: () => T): T | undefined => {
    try {
      return make()
    } catch (error) {
      faults.push(...problemsOf(error, path).map(({ message, code }) => `${message} (${code})`))
      return undefined
    }
  }
  const ownTrustDomain = identity?.id.trustDomain
  const wanted = [...(ownTrustDomain === undefined ? [] : [{ trustDomain: ownTrustDomain, bundle: ownPath }]), ...federation].filter(
    ({ bundle }) => texts.has(bundle),
  )
  if (wanted.length === 0)
    return { bundles: [], trust: undefined, result: skipped('bundles-valid', 'whose bundle it is, the certificate would tell') }
  const bundles = wanted
    .map(({ trustDomain, bundle }) => attempt(bundle, () => readBundle(texts.get(bundle) ?? '', trustDomain, bundle)))
    .filter((bundle) => bundle !== undefined)
  const hasOwn = bundles.some(({ trustDomain }) => trustDomain === ownTrustDomain)
  const trust = ownTrustDomain !== undefined && hasOwn ? attempt(ownPath, () => createTrustStore(ownTrustDomain, bundles)) : undefined
  return { bundles, trust, result: judged('bundles-valid', faults) }
}

/** Times are ms since the epoch. */
export function checkTimes(notBefore: number, notAfter: number, now: number): CheckResult[] {
  const early =
    notBefore > now ? [`It is valid from ${iso(notBefore)} on, ${span(notBefore - now)} from now by the clock of this host.`] : []
  const left = notAfter - now
  const life = notAfter - notBefore
  const end = `It ends at ${iso(notAfter)}`
  if (left <= 0) return [judged('clock-skew', early), judged('certificate-expiry', [`It ended at ${iso(notAfter)}, ${span(-left)} ago.`])]
  const isShort = left < life * EXPIRY_SHARE || (life > LONG_LIVED && left < DAY)
  const warning = isShort ? [`${end}, in ${span(left)}; it was issued for ${span(life)}.`] : []
  const expiry = isShort ? judged('certificate-expiry', warning, 'warning') : passed('certificate-expiry', `${end}, in ${span(left)}.`)
  return [judged('clock-skew', early), expiry]
}

/** Its own times are another check's business. */
function checkChain({ chain, facts }: WorkloadIdentity, trust: TrustStore, now: number): CheckResult {
  const at = Math.min(Math.max(now, facts.notBefore), facts.notAfter - 1000)
  const faults = new Set<string>()
  for (const role of ['client', 'server'] as const) {
    const verdict = verifyChain(chain, trust, at, role)
    if (!verdict.ok)
      faults.add(`Peers with this bundle would refuse it${verdict.detail === '' ? '' : `: ${verdict.detail}`} (${verdict.reason}).`)
  }
  return judged('certificate-chain', [...faults])
}

export function checkAuthorities(bundles: readonly Bundle[], now: number): CheckResult {
  const ended: string[] = []
  const ending: string[] = []
  let dead = false
  for (const { trustDomain, roots } of bundles) {
    const live = roots.filter(({ facts }) => facts.certificate.notAfter > now)
    dead ||= live.length === 0
    for (const { fingerprint, facts } of roots) {
      const { notBefore, notAfter } = facts.certificate
      const warning = Math.min(AUTHORITY_WARNING, (notAfter - notBefore) * EXPIRY_SHARE)
      const name = `The authority ${fingerprint.slice(0, 12)}… of ${trustDomain}`
      if (notAfter <= now) ended.push(`${name} ended at ${iso(notAfter)}${live.length === 0 ? '' : '; take it out of the bundle'}.`)
      else if (notAfter - now < warning) ending.push(`${name} ends at ${iso(notAfter)}, in ${span(notAfter - now)}.`)
    }
  }
  return judged('bundle-expiry', [...ended, ...ending], dead ? 'failed' : 'warning')
}
