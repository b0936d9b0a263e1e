/** Reason codes of policy documents and decisions. */
export const policyReasons = {
  ERR_POLICY_DENIED: {
    what: 'A deny rule matched the request.',
    remedy: 'Run `postern explain REQUEST_ID` to see the rule; deny wins over every allow.',
  },
  ERR_POLICY_NO_ALLOW: {
    what: 'No allow rule matched the request.',
    remedy: 'Run `postern explain REQUEST_ID` to see each rule considered and its first failing criterion, nearest first.',
  },
  ERR_POLICY_NONE: {
    what: 'No policy applies to this service, and no policy means deny.',
    remedy: 'Add a policy under `spec.policies`, or check its `spec.target` with `postern policy check`.',
  },
} as const
