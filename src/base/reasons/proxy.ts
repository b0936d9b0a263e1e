/** Reason codes of connections, limits, deadlines and upstreams. */
export const proxyReasons = {
  ERR_LISTEN: {
    what: 'An address to listen on cannot be had.',
    remedy: 'The message says why; `postern check` names what holds the port.',
  },
  ERR_LIMIT_CONNECTIONS: {
    what: 'The listener already serves as many connections as its limit allows.',
    remedy: 'Raise `limits.connections`, or find the caller that opens so many with `GET /v1/connections` on the admin address.',
  },
  ERR_LIMIT_PEER_CONNECTIONS: {
    what: 'The caller’s identity already has as many connections to the listener as one identity may have.',
    remedy: 'Look at what that caller does; raise `limits.connectionsPerPeer` if it has so many replicas.',
  },
  ERR_LIMIT_PEER_FLOODED: {
    what: 'The caller flooded the listener a moment ago (`ERR_HTTP2_FLOOD`, `ERR_HTTP2_HEADER_FLOOD`): new connections of its identity from that address are refused for a while.',
    remedy:
      'Find out why it floods; the detail says how long it has to wait. `limits.floodPenalty` is the first wait, each further flood makes it twice as long.',
  },
  ERR_LIMIT_PEER_STREAMS: {
    what: 'The caller’s identity already has as many HTTP/2 requests under way at the listener as one identity may have.',
    remedy: 'Look at what that caller does, and whether the app answers; raise `limits.streamsPerPeer` if it needs so many.',
  },
  ERR_TLS_HANDSHAKE: {
    what: 'The TLS handshake failed before a certificate could be judged.',
    remedy: 'The detail names what OpenSSL said; callers need TLS 1.3 (or `tls.minVersion: TLSv1.2`) and a common key-exchange group.',
  },
  ERR_TLS_HANDSHAKE_TIMEOUT: {
    what: 'The TLS handshake did not end within `timeouts.handshake`.',
    remedy: 'Look for callers that connect without speaking TLS, such as plain health checks of the mTLS port.',
  },
  ERR_TLS_ALPN: {
    what: 'Caller and listener have no application protocol in common.',
    remedy: 'Set the listener’s `protocol` to what its callers speak.',
  },
  ERR_HEAD_TIMEOUT: {
    what: 'A request head was begun but not ended within `timeouts.head`.',
    remedy: 'Nothing, unless the caller is known to be slow; then raise `timeouts.head`.',
  },
  ERR_BODY_TIMEOUT: {
    what: 'The caller stopped sending a request body for longer than `timeouts.idle`.',
    remedy: 'Look at the caller; raise `timeouts.idle` if such pauses are normal.',
  },
  ERR_BODY_RATE: {
    what: 'The caller sent a request body more slowly than `limits.bodyRate` for as long as `timeouts.idle`.',
    remedy: 'Look at the caller; lower `limits.bodyRate` if its requests are meant to trickle.',
  },
  ERR_DOWNSTREAM_STALLED: {
    what: 'The caller took nothing of a response that waits for it, or less than `limits.bodyRate`, for as long as `timeouts.idle`.',
    remedy: 'Look at what the caller does instead of reading; raise `timeouts.idle` if such pauses are normal.',
  },
  ERR_DOWNSTREAM_ABORTED: {
    what: 'The caller closed its connection before the exchange was complete.',
    remedy: 'Look at the caller’s timeouts if this happens often.',
  },
  ERR_UPSTREAM_UNREACHABLE: {
    what: 'The upstream refused the connection or is absent.',
    remedy: 'Check that it listens on the address in `inbound[].app` or `outbound[].to`.',
  },
  ERR_UPSTREAM_CONNECT_TIMEOUT: {
    what: 'No connection to the upstream could be had within `timeouts.connect`.',
    remedy: 'The upstream accepts no connections: look at its backlog and its health.',
  },
  ERR_UPSTREAM_CLOSED: {
    what: 'The upstream closed the connection before it answered.',
    remedy: 'Look at the upstream’s log for a crash or a limit at this time.',
  },
  ERR_UPSTREAM_TRUNCATED: {
    what: 'The upstream closed the connection in the middle of its response.',
    remedy: 'Look at the upstream’s log; the caller saw a cut connection, never a response that looks complete.',
  },
  ERR_UPSTREAM_RESPONSE: {
    what: 'The upstream’s response is malformed or ambiguous.',
    remedy: 'The detail names the rule of RFC 9112 that it breaks; mend the upstream.',
  },
  ERR_UPSTREAM_IDENTITY: {
    what: 'The server that answered is not one of the identities in `outbound[].peer`.',
    remedy: 'If it is the right server, correct `peer`; if not, find out who answers at that address.',
  },
  ERR_UPSTREAM_TLS: {
    what: 'The server could not be verified.',
    remedy: 'The detail has the reason; run `postern check` with this configuration.',
  },
  ERR_UPSTREAM_RESOLVE: {
    what: 'The name of the upstream could not be resolved.',
    remedy: 'Check the name in `outbound[].to` and the resolver of this host.',
  },
  ERR_OUTBOUND_OUTSIDE: {
    what: 'A redirected call goes to a destination outside of the mesh, and such calls are refused here.',
    remedy:
      'Give the destination a sidecar, or allow calls to the outside: `passThrough: allow`, or the annotation `postern.dev/pass-through` of the pod.',
  },
  ERR_OUTBOUND_NO_ROUTE: {
    what: 'No outbound entry has the authority of the request among its `hosts`.',
    remedy: 'Add the host to `outbound[].hosts`, or mend the address the app calls.',
  },
  ERR_UPGRADE_EARLY_DATA: {
    what: 'The caller sent bytes behind an upgrade request before it was answered.',
    remedy: 'Nothing was passed on; the caller must wait for the 101 (RFC 9110 §7.8).',
  },
  ERR_UPGRADE_UNASKED: {
    what: 'The upstream switched protocols though the request did not ask for it.',
    remedy: 'Mend the upstream: 101 answers a websocket upgrade only.',
  },
  ERR_RECORDS_OVERLOADED: {
    what: 'Decision records cannot be written, and `records.onOverload` is `refuse`.',
    remedy: 'Make room on or unblock what reads stdout; or set `onOverload: drop`.',
  },
  ERR_DRAINED: {
    what: 'The exchange was still running at the end of the drain time.',
    remedy: 'Raise `drain` if exchanges normally take this long.',
  },
  ERR_CERTIFICATE_ENDED: {
    what: 'A certificate that the connection was admitted under has reached its end.',
    remedy: 'Renew earlier; the peer reconnects with its new certificate by itself.',
  },
  ERR_TRUST_WITHDRAWN: {
    what: 'The authority or identity that the connection was admitted under is no longer trusted.',
    remedy: 'If that was not meant, look at what changed in the trust bundle or the revocations.',
  },
  ERR_TUNNEL_IDLE: {
    what: 'One side of a tunnel was closed and the other stayed silent.',
    remedy: 'Nothing; half-closed tunnels are ended after `timeouts.idle`.',
  },
  ERR_GRPC_DEADLINE: {
    what: 'The gRPC call ran out of the time that its `grpc-timeout` gave it.',
    remedy: 'Look at the app’s latency, or give the call more time.',
  },
  ERR_INTERNAL: {
    what: 'Postern met a bug of its own and refused the request.',
    remedy: 'Report it with the operational log of this time.',
  },
} as const
