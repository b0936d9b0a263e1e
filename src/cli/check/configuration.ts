/** Checks of the runtime, the document and its policies. */
import { createSecureContext } from 'node:tls'
import { formatProblem, type Problem } from '#base/located'
import { formatAddress } from '#base/units'
import { type Configuration, loadConfiguration } from '#config/load'
import { scopeOf } from '#config/scope'
import { DEFAULTS, type SidecarConfig } from '#config/sidecar-config'
import { appliesTo, type PolicyDocument } from '#policy/document'
import { lintPolicies } from '#policy/lint'
import { type CheckResult, judged } from './catalogue.ts'

const MIN_NODE = 26

export function checkRuntime(version: string): CheckResult {
  const major = Number(/^v(\d+)/.exec(version)?.[1])
  return judged('node-version', major >= MIN_NODE ? [] : [`This is Node ${version}; Postern needs ${MIN_NODE} or later.`])
}

export interface CheckedConfiguration {
  readonly results: readonly CheckResult[]
  /** Undefined if the document is not valid. */
  readonly config: SidecarConfig | undefined
}

/** @param now ms since the epoch */
export async function checkConfiguration(file: string, displayFolder: string, now: number): Promise<CheckedConfiguration> {
  const { sidecar, roots } = await loadConfiguration({ file, displayFolder })
  const { config } = sidecar
  const results: CheckResult[] = [judged('document-valid', sidecar.problems.map(formatProblem))]
  if (config === undefined) return { results, config }
  results.push(checkGroups(config.tls.groups), ...checkPolicies(roots, config, now))
  return { results, config }
}

/** @param groups as in the document, or the defaults */
export function checkGroups(groups: readonly string[] = DEFAULTS.tls.groups): CheckResult {
  const missing = groups.filter((group) => !hasGroup(group))
  return judged(
    'key-exchange-groups',
    missing.map((group) => `OpenSSL ${process.versions.openssl} does not have ${group}.`),
  )
}

function hasGroup(group: string): boolean {
  try {
    createSecureContext({ ecdhCurve: group })
    return true
  } catch {
    return false
  }
}

function checkPolicies(roots: Configuration['roots'], config: SidecarConfig, now: number): CheckResult[] {
  const problems = roots.flatMap((root) => [...root.problems, ...root.files.flatMap((read) => read.problems)])
  const documents = roots.flatMap((root) => root.files.flatMap((read) => read.documents))
  const of = (severity: Problem['severity']): string[] => problems.filter((problem) => problem.severity === severity).map(formatProblem)
  const suspicious = [...of('warning'), ...lintPolicies(documents, now).map(formatProblem)]
  return [
    judged('policies-valid', of('error')),
    judged('policies-sound', suspicious, 'warning'),
    judged('policies-allow', refusingListeners(documents, config), 'warning'),
  ]
}

function refusingListeners(documents: readonly PolicyDocument[], config: SidecarConfig): string[] {
  return config.inbound.flatMap((inbound) => {
    const scope = scopeOf(config, inbound)
    const applying = documents.filter((document) => appliesTo(document, scope))
    const enforced = applying.filter(({ mode }) => mode === 'enforce')
    if (enforced.some(({ rules }) => rules.some(({ action }) => action === 'allow'))) return []
    const listener = formatAddress(inbound.listen)
    if (enforced.length > 0) return [`${listener}: ${count(enforced.length)} there, none with an allow rule, so every request is refused.`]
    if (applying.length > 0)
      return [`${listener}: ${count(applying.length)} there in shadow mode, none enforced, so every request is refused.`]
    const others = documents.length === 0 ? 'there is no policy' : `none of ${documents.length} policies is for it`
    return [`${listener}: ${others}, so every request is refused.`]
  })
}

function count(policies: number): string {
  return policies === 1 ? '1 policy is' : `${policies} policies are`
}
