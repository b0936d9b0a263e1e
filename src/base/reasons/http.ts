/** Reason codes of requests and responses that are malformed, ambiguous or too large. */
export const httpReasons = {
  ERR_HTTP_REQUEST_LINE: {
    what: 'The request line is not `METHOD SP target SP HTTP/1.x`.',
    remedy: 'Send a request line as RFC 9112 §3 defines it.',
  },
  ERR_HTTP_METHOD: {
    what: 'The method is not a token, or is one that only a forward proxy or HTTP/2 has a use for (CONNECT, PRI).',
    remedy: 'Use an ordinary method; tunnels through the sidecar are WebSocket upgrades or a `tcp` listener.',
  },
  ERR_HTTP_VERSION: {
    what: 'The request is neither HTTP/1.1 nor HTTP/1.0.',
    remedy: 'Speak the protocol of the listener; for HTTP/2 set `protocol: http2` or `both` and negotiate `h2` by ALPN.',
  },
  ERR_HTTP_TARGET: {
    what: 'The request target is not in origin form, nor in absolute form with http or https, nor `*` for OPTIONS.',
    remedy: 'Send a target as RFC 9112 §3.2 defines it, with everything outside of visible ASCII percent-encoded.',
  },
  ERR_HTTP_TARGET_TOO_LONG: {
    what: 'The request line is longer than the limit for a whole head.',
    remedy: 'Shorten the URI, or raise `limits.headBytes` of the listener.',
  },
  ERR_HTTP_HEAD_TOO_LARGE: {
    what: 'The head or the trailers have more bytes than the limit.',
    remedy: 'Send fewer or smaller headers, or raise `limits.headBytes` of the listener.',
  },
  ERR_HTTP_TOO_MANY_HEADERS: {
    what: 'The head or the trailers have more lines than the limit.',
    remedy: 'Send fewer headers, or raise `limits.headers` of the listener.',
  },
  ERR_HTTP_LINE_END: {
    what: 'A line of the head ends in a bare CR or a bare LF.',
    remedy: 'End every line in CR LF; a sender that does not may be trying to smuggle a request.',
  },
  ERR_HTTP_HEADER_NAME: {
    what: 'A header line has no name, or its name holds a character that is not allowed (a space before the colon, a folded line).',
    remedy: 'Send names that are tokens (RFC 9110 §5.1), directly followed by a colon, one header a line.',
  },
  ERR_HTTP_HEADER_VALUE: {
    what: 'A header value holds a control character, or bytes that are not UTF-8.',
    remedy: 'Send values of visible characters, spaces and tabs; anything beyond ASCII as UTF-8.',
  },
  ERR_HTTP_HEADER_REPEATED: {
    what: 'A header that has exactly one value came more than once, so that two readers could choose differently.',
    remedy: 'Send it once.',
  },
  ERR_HTTP_HOST: {
    what: 'The request has no Host, or one that is not a host with an optional port, or one that differs from the authority of the target.',
    remedy: 'Send exactly one Host header, equal to the authority of an absolute-form target.',
  },
  ERR_HTTP_CONTENT_LENGTH: {
    what: 'Content-Length is not one plain decimal number.',
    remedy: 'Send digits only, once, at most 9007199254740991.',
  },
  ERR_HTTP_TRANSFER_ENCODING: {
    what: 'Transfer-Encoding is malformed or repeated, or came with HTTP/1.0.',
    remedy: 'Send `Transfer-Encoding: chunked`, once, over HTTP/1.1.',
  },
  ERR_HTTP_TRANSFER_CODING: {
    what: 'The body is in a transfer coding other than `chunked`.',
    remedy: 'Compress by Content-Encoding instead; only `chunked` is understood as Transfer-Encoding.',
  },
  ERR_HTTP_FRAMING_CONFLICT: {
    what: 'Content-Length and Transfer-Encoding came together, so that the length of the body is ambiguous.',
    remedy: 'Send one of the two; a sender that sends both may be trying to smuggle a request.',
  },
  ERR_HTTP_CONNECTION: {
    what: 'Connection is not a list of names, or names a header that routing or framing depends on.',
    remedy: 'List only hop-by-hop headers in Connection, never Host, Content-Length or Transfer-Encoding.',
  },
  ERR_HTTP_EXPECT: {
    what: 'The expectation is not `100-continue`.',
    remedy: 'Send `Expect: 100-continue` or no Expect.',
  },
  ERR_HTTP_CHUNK: {
    what: 'A chunk of the body is malformed: its size, its extension or its line end.',
    remedy: 'Send chunks as RFC 9112 §7.1 defines them, sizes in at most 13 hexadecimal digits and extensions of at most 1 KiB.',
  },
  ERR_HTTP_TRAILER: {
    what: 'The trailers hold a field that belongs into the head: framing, routing or authentication.',
    remedy: 'Send such fields in the head only (RFC 9110 §6.5.1).',
  },
  ERR_HTTP_BODY_TRUNCATED: {
    what: 'The connection ended before the body was complete.',
    remedy: 'Look for a crash, a timeout or a wrong Content-Length at the sender.',
  },
  ERR_RESPONSE_STATUS_LINE: {
    what: 'The app answered with something that is not an HTTP/1 status line.',
    remedy: 'Check that the app speaks HTTP/1 on the configured address, and that the listener has the right `protocol`.',
  },
  ERR_RESPONSE_HEADER: {
    what: 'The app answered with a malformed header.',
    remedy: 'Mend the app: the detail of the record names the header; every line ends in CR LF and holds no control characters.',
  },
  ERR_RESPONSE_FRAMING: {
    what: 'The app answered with an ambiguous length: Content-Length and Transfer-Encoding together, repeated or malformed.',
    remedy: 'Mend the app: it must send one of the two, once.',
  },
  ERR_RESPONSE_TOO_LARGE: {
    what: 'The app answered with a head larger than the limits.',
    remedy: 'Send fewer or smaller headers, or raise `limits.headBytes` and `limits.headers` of the listener.',
  },
  ERR_PATH_RELATIVE: {
    what: 'The path does not begin with a slash.',
    remedy: 'Send an absolute path.',
  },
  ERR_PATH_CHARACTER: {
    what: 'The path holds a space, a control character or a byte beyond ASCII.',
    remedy: 'Percent-encode it.',
  },
  ERR_PATH_ESCAPE: {
    what: 'The path holds a `%` that is not followed by two hexadecimal digits.',
    remedy: 'Encode a literal percent sign as `%25`.',
  },
  ERR_PATH_FRAGMENT: {
    what: 'The request target holds a `#`.',
    remedy: 'Leave the fragment away, or encode a literal `#` as `%23`.',
  },
  ERR_PATH_BACKSLASH: {
    what: 'The path holds a backslash, plain or encoded, which some servers take for a slash.',
    remedy: 'Use slashes; a backslash in a path is always refused.',
  },
  ERR_PATH_NUL: {
    what: 'The path holds an encoded NUL.',
    remedy: 'Remove `%00`; it is always refused.',
  },
  ERR_PATH_UTF8: {
    what: 'The escapes of the path are not well-formed UTF-8.',
    remedy: 'Encode the path as UTF-8 before percent-encoding it; overlong forms are always refused.',
  },
  ERR_PATH_DOT_SEGMENT: {
    what: 'The path holds a `.` or `..` segment, plain or hidden by encoding or parameters.',
    remedy: 'Resolve the path before sending it; dot segments are always refused.',
  },
  ERR_PATH_ENCODED_SLASH: {
    what: 'The path holds an encoded slash.',
    remedy: 'Use plain slashes, or add `encoded-slash` to `paths.allow` of the listener if the app keeps `%2F` apart from `/`.',
  },
  ERR_PATH_DOUBLE_SLASH: {
    what: 'The path holds an empty segment.',
    remedy: 'Send single slashes, or add `double-slash` to `paths.allow` of the listener if the app keeps `//` apart from `/`.',
  },
  ERR_PATH_PARAMS: {
    what: 'The path holds a `;`, which some servers take for the start of parameters that are no part of the path.',
    remedy: 'Encode it as `%3B`, or add `params` to `paths.allow` of the listener.',
  },
  ERR_PATH_DOUBLE_ENCODING: {
    what: 'The path is percent-encoded twice.',
    remedy: 'Encode it once, or add `double-encoding` to `paths.allow` of the listener if the app decodes exactly once.',
  },
} as const
