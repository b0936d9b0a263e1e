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
  ERR_RATE_LIMITED: {
    what: 'The caller makes more requests than the `limit` of the rule that allows them.',
    remedy:
      'Let the caller wait as `retry-after` says, or raise `requests` or `burst` of the limit that the detail names (docs/policy.md).',
  },
  ERR_POLICY_SHAPE: {
    what: 'A part of the policy document is not the map, list or single value that belongs there.',
    remedy: 'Compare the place named in the message with the examples in docs/policy.md; dashes and indentation decide what is a list.',
  },
  ERR_POLICY_UNKNOWN: {
    what: 'The policy document uses a key, operator, criterion or matcher that does not exist.',
    remedy:
      'Use the suggested word; docs/policy.md lists them all. Nothing unknown is skipped, because a rule without it would mean something else.',
  },
  ERR_POLICY_UNSUPPORTED: {
    what: 'The policy document uses a criterion of PPL that has no meaning between services.',
    remedy: 'Remove the criterion; the message says why it cannot be decided here and what comes nearest.',
  },
  ERR_POLICY_EMPTY: {
    what: 'A document, action, operator or matcher of the policy is empty.',
    remedy: 'Write at least one entry, or remove it. Empty conditions are not taken as true, because they would match everyone.',
  },
  ERR_POLICY_VALUE: {
    what: 'A value in the policy document is not of the form its criterion takes, or could never match.',
    remedy: 'The message says which form; docs/policy.md has an example of each criterion.',
  },
  ERR_POLICY_PATH: {
    what: 'A path in the policy document is not in canonical form, so that no request could ever have it.',
    remedy: 'Use the suggested path. Requests are compared by their canonical path (docs/policy.md).',
  },
  ERR_POLICY_NEGATION_ONLY: {
    what: 'An allow rule says only what a token must not be, and would so admit whoever has no token.',
    remedy: 'Say what the token must be too: put `authenticated_user: true` beside it under `and`, and `exclude` or `not` in the matcher.',
  },
  ERR_POLICY_PROTOCOL: {
    what: 'A policy with HTTP criteria would govern a listener of protocol tcp, where they cannot be decided.',
    remedy: 'Limit the document with `spec.target.ports`, or use only criteria of peer, address, port and time for that listener.',
  },
  ERR_POLICY_NEVER_MATCHES: {
    what: 'A rule can never match.',
    remedy: 'Mend the criteria that contradict each other, or use `or` if either was meant.',
  },
  ERR_POLICY_OVERRULED: {
    what: 'An allow rule never takes effect, because a deny rule matches whenever it does.',
    remedy: 'Narrow the deny rule or remove the allow rule.',
  },
  ERR_POLICY_OPEN: {
    what: 'An allow rule is open to every peer that has a certificate of a trusted domain.',
    remedy: 'Name the callers with `spiffe_id`, `namespace`, `service_account` or `trust_domain`.',
  },
  ERR_POLICY_NEAR_MISS: {
    what: 'A name in a policy differs by one character from a name elsewhere in the same set of policies.',
    remedy: 'Check whether it is a slip of the pen; if both exist, nothing needs to be done.',
  },
  ERR_POLICY_LOOSE_AFFIX: {
    what: 'A prefix or suffix in a policy ends in the middle of a name and so takes more names than it seems to.',
    remedy: 'End a prefix with `/`, begin a suffix with `.`, `/` or `@`; or use `is` for the one name.',
  },
  ERR_POLICY_DEAD_TEST: {
    what: 'A test in a policy document tests nothing.',
    remedy: 'The message says why; change the request or the rule it names.',
  },
  ERR_POLICY_NAME_TWICE: {
    what: 'Two policies or two rules have the same name, so that records cannot tell them apart.',
    remedy: 'Give each its own name.',
  },
} as const
