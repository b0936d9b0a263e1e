/** Reason codes of bearer tokens and of the keys that verify them. */
export const tokenReasons = {
  ERR_TOKEN_MALFORMED: {
    what: 'The bearer token is not a signed JWT in compact form: three parts of base64url without padding, the first two JSON objects.',
    remedy: 'Send the token exactly as its issuer gave it; encrypted tokens, the JSON form and opaque tokens are not understood.',
  },
  ERR_TOKEN_TOO_LARGE: {
    what: 'The bearer token is longer than 8 KiB, or nested deeper than 16 levels.',
    remedy: 'Have the issuer put fewer claims into it.',
  },
  ERR_TOKEN_REPEATED: {
    what: 'The request has more than one Authorization header, so that two readers could choose differently.',
    remedy: 'Send it once.',
  },
  ERR_TOKEN_SCHEME: {
    what: 'The Authorization header of a listener that understands tokens is not `Bearer` followed by one token.',
    remedy:
      'Send `Authorization: Bearer TOKEN`, or set `unknownTokens: pass` on the listener if other schemes are the business of the app.',
  },
  ERR_TOKEN_ALGORITHM: {
    what: 'The token is signed with an algorithm that is not accepted (none, a symmetric one, EdDSA), or not with the one of its key.',
    remedy: 'Sign with RS, PS or ES 256, 384 or 512, and name in the key set the algorithm of each key.',
  },
  ERR_TOKEN_TYPE: {
    what: 'The header of the token names a type that is not an access token, or asks for an extension that is not understood.',
    remedy: 'Send an access token, a service-account token or a JWT-SVID: `typ` is JWT, at+jwt or JOSE, and there is no `crit`.',
  },
  ERR_TOKEN_ISSUER_UNKNOWN: {
    what: 'The token is of an issuer that is not configured.',
    remedy:
      'Compare its `iss` with `spec.tokens[].issuer`, letter by letter; a listener with `unknownTokens: pass` leaves such tokens to the app.',
  },
  ERR_TOKEN_AUDIENCE: {
    what: 'The token is not meant for this service: `aud` is absent or names none of the configured audiences.',
    remedy: 'Ask the issuer for a token with one of `spec.tokens[].audiences`.',
  },
  ERR_TOKEN_NO_EXPIRY: {
    what: 'The token never ends: `exp` is absent or not a number.',
    remedy: 'Use tokens that end; of Kubernetes projected ones, not those of a Secret.',
  },
  ERR_TOKEN_EXPIRED: {
    what: 'The token has ended: its `exp` has come.',
    remedy: 'Obtain a new token; if a new one fails too, compare the clock of this host with its issuer.',
  },
  ERR_TOKEN_NOT_YET_VALID: {
    what: 'The token has not begun yet: its `nbf` is to come.',
    remedy: 'Compare the clock of this host with its issuer.',
  },
  ERR_TOKEN_SUBJECT: {
    what: 'The claims of the token do not say who it is about in the way of its kind.',
    remedy:
      'Check `spec.tokens[].kind`: a service-account token has the subject `system:serviceaccount:NAMESPACE:NAME` and agreeing claims `kubernetes.io`, a JWT-SVID a SPIFFE ID of the configured trust domain.',
  },
  ERR_TOKEN_KEY_UNKNOWN: {
    what: 'No key of the issuer has the `kid` of the token, or the token has none and several keys could be meant.',
    remedy: 'Check that the token is of this issuer; a key published just now is found when the cooldown of its endpoint (10 s) is over.',
  },
  ERR_TOKEN_KEYS_UNAVAILABLE: {
    what: 'There are no keys to verify the token with: they could not be had, or what was had last is too old.',
    remedy: 'The log and `/readyz?verbose` say what is wrong with the file or the endpoint of the keys. Nothing is verified without keys.',
  },
  ERR_TOKEN_KEY_WITHDRAWN: {
    what: 'The key that verified the token was withdrawn by its issuer, or the issuer is no longer configured.',
    remedy: 'Obtain a new token.',
  },
  ERR_TOKEN_SIGNATURE: {
    what: 'The signature of the token is not by the key that it names.',
    remedy: 'Obtain a new token; if many callers see this, the issuer signs with another key than it publishes.',
  },
  ERR_TOKEN_CONFIRMATION: {
    what: 'The token is bound to a key (`cnf`) other than the one of the certificate that the caller came with.',
    remedy: 'Call with the certificate that the token was issued for (RFC 8705); tokens bound in another way are not understood.',
  },
  ERR_TOKEN_REVIEW: {
    what: 'The Kubernetes API server says that the service-account token does not count any more, or not here.',
    remedy: 'Its pod or service account is gone, or it is not meant for us; read the token anew from its file for each request.',
  },
  ERR_TOKEN_REVIEW_UNAVAILABLE: {
    what: 'The Kubernetes API server could not be asked whether the token still counts, and its last answer is too old.',
    remedy:
      'The detail says what it answered; our own service account needs the role `system:auth-delegator`. The request can be sent again.',
  },
  ERR_TOKEN_BUSY: {
    what: 'More requests wait for the keys, or for the review, of their tokens than may.',
    remedy: 'Look at the endpoint of the keys, or at the API server, which is slow or down; the request can be sent again.',
  },
  ERR_JWKS_MALFORMED: {
    what: 'The keys of an issuer are not a JWK Set, or one of them is broken.',
    remedy: 'Compare the document with RFC 7517 §5; the message names what is wrong. The last good keys stay in use for a while.',
  },
  ERR_JWKS_TOO_LARGE: {
    what: 'The keys of an issuer, or its discovery document, are longer than 256 KiB, more than 100 keys or nested too deep.',
    remedy: 'Have the issuer remove keys that no token was signed with.',
  },
  ERR_JWKS_AMBIGUOUS: {
    what: 'Two keys of an issuer have the same `kid` and algorithm, so that nobody can say which verifies a token.',
    remedy: 'Give each key a `kid` of its own.',
  },
  ERR_JWKS_NO_KEY: {
    what: 'None of the keys of an issuer can verify a token.',
    remedy:
      'Publish an RSA key of 2048 bits or more, or one on P-256, P-384 or P-521; keys for encryption, symmetric and private ones are never used.',
  },
  ERR_JWKS_FILE: {
    what: 'A file that the keys of an issuer need cannot be read: the keys themselves, the `ca` or the `tokenFile`.',
    remedy: 'Check that it exists and is readable to the user that Postern runs as. The last good keys stay in use for a while.',
  },
  ERR_JWKS_ADDRESS: {
    what: 'The address of the keys is not https, or is link-local, where clouds keep credentials.',
    remedy: 'Serve the keys over https on an ordinary address; plain http is for loopback alone.',
  },
  ERR_JWKS_REDIRECT: {
    what: 'The address of the keys answers with a redirect, which is not followed.',
    remedy: 'Configure the address that it leads to, if that is the right one.',
  },
  ERR_JWKS_STATUS: {
    what: 'The address of the keys answers with another status than 200.',
    remedy:
      'Check the address; Kubernetes asks for a token (`jwks.tokenFile`). It is tried again, the last good keys stay in use for a while.',
  },
  ERR_JWKS_CONTENT: {
    what: 'The address of the keys answers with a page for people, or with content that is compressed.',
    remedy: 'Check the address: a sign-in page or a portal in between answers so.',
  },
  ERR_JWKS_TIMEOUT: {
    what: 'The address of the keys gave no whole answer within 5 s.',
    remedy: 'Look at the endpoint and the network on the way. It is tried again, the last good keys stay in use for a while.',
  },
  ERR_JWKS_TLS: {
    what: 'The server of the keys could not be verified.',
    remedy: 'Give the roots of its certificate as `jwks.ca`, or check who answers there.',
  },
  ERR_JWKS_UNREACHABLE: {
    what: 'The server of the keys cannot be reached, or broke off.',
    remedy: 'Check its name, address and port. It is tried again, the last good keys stay in use for a while.',
  },
  ERR_JWKS_DISCOVERY: {
    what: 'The discovery document of an issuer is not one, is of another issuer or names no keys.',
    remedy: 'Compare its `issuer` with the configured one, letter by letter, or configure the address of the keys as `jwks.url`.',
  },
} as const
