/** Reason codes of an identity that comes from a SPIFFE Workload API, such as SPIRE's agent. */
export const workloadApiReasons = {
  ERR_WORKLOAD_API_ENDPOINT: {
    what: 'What says where the Workload API is cannot be used.',
    remedy:
      'Set `spec.identity.workloadApi.socket`, or `SPIFFE_ENDPOINT_SOCKET`, to `unix:///path/of/the/socket` or `tcp://127.0.0.1:PORT`.',
  },
  ERR_WORKLOAD_API_UNREACHABLE: {
    what: 'The Workload API does not answer, or ended its stream.',
    remedy: 'Check that its agent runs and that this user may open its socket; the last good identity stays in force meanwhile.',
  },
  ERR_WORKLOAD_API_DENIED: {
    what: 'The Workload API has no identity for this process.',
    remedy: 'Register the workload with its server (SPIRE: `spire-server entry create`, with selectors that this process matches).',
  },
  ERR_WORKLOAD_API_REFUSED: {
    what: 'The Workload API refuses what it is asked, so that asking again is of no use.',
    remedy: 'Check that the socket is that of a SPIFFE Workload API, then send SIGHUP or restart.',
  },
  ERR_WORKLOAD_API_ANSWER: {
    what: 'The Workload API sent what breaks the rules of its standard, or what peers would refuse.',
    remedy: 'The message names the rule; mend the agent or its server. The last good identity stays in force.',
  },
  ERR_WORKLOAD_API_CHOICE: {
    what: 'The Workload API offers other identities than the one to be used, or several of which none was chosen.',
    remedy: 'Set `spec.identity.workloadApi.id`, or `hint`, to one of those that the message lists.',
  },
} as const
