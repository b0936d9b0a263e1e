/** Reason codes of requests that are malformed, ambiguous or too large. */
export const httpReasons = {
  ERR_HTTP_REQUEST_LINE: {
    what: 'The request line is not `METHOD SP target SP HTTP/1.x`.',
    remedy: 'Send a request line as RFC 9112 §3 defines it.',
  },
} as const
