/** Reason codes of the certificate authority. */
export const caReasons = {
  ERR_CA_STORE: {
    what: 'The authority’s store cannot be read or written.',
    remedy: 'The message says what the system answered. Nothing is issued meanwhile; it goes on by itself once the store answers again.',
  },
  ERR_CA_STORE_FULL: {
    what: 'The disk that holds the authority’s store is full.',
    remedy: 'Free space on it. Nothing is issued meanwhile; issuing goes on by itself.',
  },
  ERR_CA_STORE_READ_ONLY: {
    what: 'The authority’s store may be read but not written.',
    remedy: 'Give the user that the CA runs as the right to write the file and its folder, and mount the file system for writing.',
  },
  ERR_CA_STORE_CORRUPT: {
    what: 'The authority’s store is damaged, or is no database.',
    remedy: 'Stop the CA, keep the file for examination, and restore the last backup: docs/ca-operations.md says how.',
  },
  ERR_CA_STORE_NEWER: {
    what: 'The authority’s store was written by a newer version of Postern, or by another program.',
    remedy: 'Run the newer version, or restore the backup that was made before it; check that the document names the right store.',
  },
  ERR_CA_STORE_IN_USE: {
    what: 'Another process has the authority’s store.',
    remedy: 'One CA runs on an SQLite store: stop the other, or use PostgreSQL for several replicas.',
  },
  ERR_CA_STORE_MISSING: {
    what: 'The authority’s store is not where the document says.',
    remedy: 'Check `spec.store` and that its volume is mounted; `postern ca init` makes a new one.',
  },
  ERR_CA_STORE_MOVED: {
    what: 'The file of the authority’s store was removed or replaced while the CA had it open.',
    remedy: 'Put it back, or restore a backup, and start the CA again; nothing is issued until then.',
  },
  ERR_CA_STORE_UNREACHABLE: {
    what: 'The database server that holds the authority’s store does not answer, or turned the CA away.',
    remedy:
      'Check that it runs, and the address, user, password and certificate that `spec.store.postgres` gives; the CA connects again by itself.',
  },
  ERR_CA_STORE_NOT_DURABLE: {
    what: 'The database server is set to answer before a change is durable.',
    remedy: 'Turn on what the message names (`fsync`, `synchronous_commit`): what was issued must not be forgotten.',
  },
  ERR_CA_STORE_CONFLICT: {
    what: 'The authority’s store has a record of that name already, or cannot hold the one given.',
    remedy: 'Nothing of it was recorded. If it is seen twice, report it with the message.',
  },
  ERR_CA_STORE_BACKUP: {
    what: 'A backup of the authority’s store could not be made or restored.',
    remedy: 'The message says why; the store itself is as it was.',
  },
  ERR_JOIN_TOKEN_UNKNOWN: {
    what: 'The join token is not one that this authority made.',
    remedy: 'Make one with `postern ca token`, on the CA that the workload asks; check that it arrived whole.',
  },
  ERR_JOIN_TOKEN_USED: {
    what: 'The join token was used before.',
    remedy:
      'A token is good once: make another. If the workload did not use it, somebody else did: look for the certificate with `postern ca list` and revoke it.',
  },
  ERR_JOIN_TOKEN_EXPIRED: {
    what: 'The join token has expired.',
    remedy: 'Make another with `postern ca token`, with a longer `--ttl` if the workload takes long to start.',
  },
  ERR_JOIN_TOKEN_FOREIGN: {
    what: 'The join token is of another trust domain than this authority.',
    remedy: 'Make one with `postern ca token` on the authority that the workload asks, or point the workload at the other.',
  },
  ERR_CSR_NAME: {
    what: 'The certificate request asks for a name other than the ID that was attested.',
    remedy:
      'Ask with a request that has no names, or that one ID as its only URI; IDs come from what a workload proves, never from its request.',
  },
  ERR_CSR_AUTHORITY: {
    what: 'The certificate request asks to be an authority.',
    remedy: 'Ask without `CA:TRUE`, keyCertSign and cRLSign: workloads sign no certificates.',
  },
  ERR_CSR_EXTENSION: {
    what: 'The certificate request asks for an attribute or extension that X509-SVIDs do not have.',
    remedy: 'Leave out what the detail names; a request needs nothing but its key.',
  },
  ERR_CA_REQUEST: {
    what: 'The request to the authority is not one that its API has.',
    remedy: 'Compare it with docs/ca-api.md; the detail says what is wrong.',
  },
  ERR_CA_ATTESTATION_TYPE: {
    what: 'The authority does not take this kind of attestation.',
    remedy: 'Use one of those under `spec.attest` of the authority’s document, or add it there.',
  },
  ERR_CA_ATTESTED_ID: {
    what: 'What was attested makes no SPIFFE ID that this authority may give.',
    remedy: 'The detail names the fact that does not fit; change the name, or the `id` template under `spec.attest`.',
  },
  ERR_CA_VOUCHER: {
    what: 'The caller may not ask for certificates in the name of pods.',
    remedy: 'Name the controller’s SPIFFE ID, and nobody else’s, under `spec.attest.podCertificate.by` of the authority’s document.',
  },
  ERR_CA_TOKEN_REVIEW: {
    what: 'The Kubernetes API server says that the service-account token is not good.',
    remedy: 'Read the token anew from its file for each request; a token of a pod that is gone counts no more.',
  },
  ERR_CA_NO_CERTIFICATE: {
    what: 'The call is for holders of an SVID of this trust domain, and none was presented.',
    remedy: 'Call with a client certificate that is still valid, or attest.',
  },
  ERR_CA_CLIENT_CERTIFICATE: {
    what: 'The client certificate is not one that the authority takes.',
    remedy: 'The detail says why, with the clock of the authority; attest anew, or bring the two clocks together.',
  },
  ERR_CA_CLOCK_SKEW: {
    what: 'The clock of the caller and that of the authority are too far apart: the certificate would not be valid where it is used.',
    remedy: 'Set both clocks by NTP; the detail has both times.',
  },
  ERR_CA_CALLER_LIMIT: {
    what: 'The caller asks for more certificates than one caller may have.',
    remedy: 'Wait as long as `Retry-After` says; if this comes again, look for a workload that renews in a loop, or raise `spec.limits`.',
  },
  ERR_CA_OVERLOADED: {
    what: 'The authority has more requests in work than it may.',
    remedy: 'Come back when `Retry-After` says: each caller is given another time.',
  },
  ERR_CA_NO_AUTHORITY: {
    what: 'There is no authority that can sign now: none is active, its key cannot be read, or its time is over.',
    remedy: '`postern ca rotate status` says which; `postern ca rotate prepare` makes a new one.',
  },
  ERR_CA_DRAINING: {
    what: 'The authority is ending.',
    remedy: 'Come back when `Retry-After` says, or ask another replica.',
  },
  ERR_CA_ROTATION: {
    what: 'The step of the rotation cannot be taken now.',
    remedy:
      'The message says what is missing; `postern ca rotate status` shows where the rotation stands, and `--force` goes on without those named.',
  },
  ERR_CA_INTERNAL: {
    what: 'The authority failed at a request.',
    remedy: 'This is a bug in Postern; its log has the error under the request id.',
  },
} as const
