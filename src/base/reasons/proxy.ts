/** Reason codes of connections, limits, deadlines and upstreams. */
export const proxyReasons = {
  ERR_UPSTREAM_UNREACHABLE: {
    what: 'The app refused the connection or is absent.',
    remedy: 'Check that the app listens on the address in `inbound[].app`.',
  },
} as const
