/** Reason codes of HTTP/2: what ends a stream or a whole connection. */
export const http2Reasons = {
  ERR_HTTP2_PREFACE: {
    what: 'The connection does not begin with the HTTP/2 preface and a SETTINGS frame.',
    remedy: 'Speak the protocol of the listener, or the app is not an HTTP/2 server: see `protocol` of the listener.',
  },
  ERR_HTTP2_FRAME: {
    what: 'A frame breaks a rule of RFC 9113 §6: its stream, its padding, its order or its type.',
    remedy: 'The detail names the rule; mend or upgrade the sender’s HTTP/2 library.',
  },
  ERR_HTTP2_FRAME_SIZE: {
    what: 'A frame is longer than SETTINGS_MAX_FRAME_SIZE, or has a length that its type cannot have.',
    remedy: 'Mend or upgrade the sender’s HTTP/2 library.',
  },
  ERR_HTTP2_SETTINGS: {
    what: 'A setting has a value that RFC 9113 §6.5.2 does not allow.',
    remedy: 'Mend or upgrade the sender’s HTTP/2 library.',
  },
  ERR_HTTP2_PUSH: {
    what: 'A PUSH_PROMISE came although push is turned off.',
    remedy: 'Turn server push off in the app; the sidecar never accepts it.',
  },
  ERR_HTTP2_COMPRESSION: {
    what: 'A header block is not valid HPACK (RFC 7541).',
    remedy: 'Mend or upgrade the sender’s HTTP/2 library; the connection cannot go on, since both sides’ tables differ.',
  },
  ERR_HTTP2_FLOW_CONTROL: {
    what: 'More data was sent, or more credit given, than a flow-control window can hold (RFC 9113 §6.9).',
    remedy: 'Mend or upgrade the sender’s HTTP/2 library.',
  },
  ERR_HTTP2_STREAM_STATE: {
    what: 'A frame came on a stream that is closed, or was never opened.',
    remedy: 'Mend or upgrade the sender’s HTTP/2 library.',
  },
  ERR_HTTP2_FLOOD: {
    what: 'The peer sent more resets, pings, settings, empty frames or tiny credits than any honest peer does.',
    remedy:
      'Find out who it is with `GET /v1/connections` on the admin address; 200 a second are allowed, 1,000 at once. It is refused for `limits.floodPenalty` meanwhile.',
  },
  ERR_HTTP2_HEADER_FLOOD: {
    what: 'A header block has more than 8 CONTINUATION frames, or is many times larger than any limit allows once decoded.',
    remedy: 'Send smaller headers; what is sent like this is an attack more often than a mistake.',
  },
  ERR_HTTP2_STREAM_LIMIT: {
    what: 'The caller opened more streams than SETTINGS_MAX_CONCURRENT_STREAMS allows, or all connections to a destination had as many as its server allows for longer than `timeouts.connect`.',
    remedy: 'Nothing was processed and the call may be repeated; raise `limits.streams` of whoever refused if it can take more.',
  },
  ERR_HTTP2_PSEUDO_HEADER: {
    what: 'A pseudo-header is missing, repeated, unknown, misplaced or has no valid value.',
    remedy: 'Send :method, :scheme, :path and :authority once each, before all other fields (RFC 9113 §8.3.1).',
  },
  ERR_HTTP2_CONNECTION_HEADER: {
    what: 'A header that belongs to HTTP/1.1 connections came over HTTP/2, or TE with another value than `trailers`.',
    remedy: 'Leave Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding and Upgrade away (RFC 9113 §8.2.2).',
  },
  ERR_HTTP2_CONTENT_LENGTH: {
    what: 'The body is longer or shorter than Content-Length says.',
    remedy: 'Mend the sender; a length that lies is how requests are smuggled.',
  },
  ERR_HTTP2_RESET: {
    what: 'The caller reset the stream before the exchange was complete.',
    remedy: 'Look at the caller’s deadlines if this happens often; the detail has its error code.',
  },
  ERR_HTTP2_UPSTREAM_RESET: {
    what: 'The upstream reset the stream before its response was complete.',
    remedy: 'Look at the upstream’s log; the detail has its error code.',
  },
  ERR_HTTP2_UPSTREAM_GOAWAY: {
    what: 'The upstream is going away and took no notice of this request.',
    remedy: 'The call may be repeated: it was not processed. Callers reconnect by themselves.',
  },
  ERR_HTTP2_UPSTREAM_PROTOCOL: {
    what: 'The upstream broke a rule of HTTP/2, so that the connection to it was closed.',
    remedy: 'The detail names the rule; mend or upgrade the upstream’s HTTP/2 library.',
  },
} as const
