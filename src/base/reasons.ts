/**
 * Every reason code of the product, with what it means and what to do about it. `docs/errors.md` is written from this table,
 * and records, metrics, exceptions and `explain` use the same words.
 */
import { caReasons } from './reasons/ca.ts'
import { configReasons } from './reasons/config.ts'
import { httpReasons } from './reasons/http.ts'
import { http2Reasons } from './reasons/http2.ts'
import { identityReasons } from './reasons/identity.ts'
import { kubeReasons } from './reasons/kube.ts'
import { policyReasons } from './reasons/policy.ts'
import { proxyReasons } from './reasons/proxy.ts'
import { svidReasons } from './reasons/svid.ts'
import { tokenReasons } from './reasons/token.ts'
import { toolReasons } from './reasons/tools.ts'
import { workloadApiReasons } from './reasons/workload-api.ts'

/** What a code says to whoever meets it. `what`: the fact, one sentence. `remedy`: what to do next, one or two sentences. */
export interface Reason {
  readonly what: string
  readonly remedy: string
}

export const REASONS = {
  ...svidReasons,
  ...identityReasons,
  ...workloadApiReasons,
  ...httpReasons,
  ...http2Reasons,
  ...policyReasons,
  ...proxyReasons,
  ...caReasons,
  ...configReasons,
  ...kubeReasons,
  ...tokenReasons,
  ...toolReasons,
} as const satisfies Record<string, Reason>

/** `ERR_…`: the stable name of one reason. */
export type ReasonCode = keyof typeof REASONS
