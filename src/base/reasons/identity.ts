/** Reason codes of where a sidecar's own identity and trust come from. */
export const identityReasons = {
  ERR_CA_UNREACHABLE: {
    what: 'The certificate authority could not be reached, or did not answer in time.',
    remedy: 'Check that it runs, and `spec.identity.ca.address`; the sidecar tries again by itself, and keeps its certificate meanwhile.',
  },
  ERR_CA_SERVER: {
    what: 'What answered at the address of the certificate authority did not prove to be it.',
    remedy:
      'Compare the bundle in `spec.identity.ca.bundle` with the authority’s own (`GET /v1/bundle`), and the clocks of both hosts; nothing was sent to it.',
  },
  ERR_CA_REFUSED: {
    what: 'The certificate authority refused to issue, to renew, or to tell what it trusts.',
    remedy: 'The message has the authority’s own code and sentence; that code is described in this list.',
  },
  ERR_CA_BUSY: {
    what: 'The certificate authority asked to come back later.',
    remedy: 'Nothing, unless it lasts: the sidecar tries again at the time it was given.',
  },
  ERR_CA_ANSWER: {
    what: 'The certificate authority gave an answer that cannot be used.',
    remedy: 'The message says what is wrong with it; the last good identity stays in force. Run the same version on both sides.',
  },
  ERR_CA_SEQUENCE: {
    what: 'The certificate authority went back to an older trust bundle.',
    remedy:
      'The newer one stays in force. Where its store was restored from a backup, have it rotate or revoke something until its sequence is beyond the one named, or delete the sidecar’s cache and restart it.',
  },
  ERR_IDENTITY_CACHE: {
    what: 'The identity kept on disk cannot be used, or cannot be written.',
    remedy: 'The message says why; the sidecar goes on without it. Give the folder enough space, to the sidecar’s user alone.',
  },
  ERR_IDENTITY_TOKEN: {
    what: 'The token that shows the certificate authority who this workload is cannot be read.',
    remedy: 'Write it to the file named under `spec.identity.ca.attest`; the sidecar tries again by itself.',
  },
  ERR_IDENTITY_ENDED: {
    what: 'Our own certificate has ended and could not be renewed.',
    remedy: 'Look at `GET /v1/identity` on the admin address, or run `postern check`: both say why it was not renewed.',
  },
  ERR_TRUST_STALE: {
    what: 'This process was suspended for longer than its lease on what it trusts, and has not asked again yet.',
    remedy: 'Try again in a second: it asks at once. If it stays so, the certificate authority does not answer.',
  },
} as const
