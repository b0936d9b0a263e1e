/** Reason codes of SPIFFE IDs, certificates, chains, bundles and handshakes. */
export const svidReasons = {
  ERR_SPIFFE_ID_MALFORMED: {
    what: 'The text is not a SPIFFE ID: `spiffe://trust-domain/path`, lower-case trust domain, no port, query, fragment, percent-encoding or trailing slash.',
    remedy: 'Issue the certificate for a well-formed ID; the detail says which rule of SPIFFE-ID §2 is broken.',
  },
  ERR_SVID_MALFORMED: {
    what: 'The certificate cannot be parsed.',
    remedy: 'Look at it with `postern certs inspect FILE`; issue a new one.',
  },
  ERR_SVID_TOO_LARGE: {
    what: 'A certificate is larger than 16 KiB, or more than four were sent.',
    remedy: 'Send the leaf and its intermediates only, and issue certificates without bulky extensions.',
  },
  ERR_SVID_KEY: {
    what: 'A certificate has a public key that is not accepted: RSA below 2,048 or above 4,096 bits, or neither RSA, P-256, P-384, P-521 nor Ed25519.',
    remedy: 'Issue the certificate for a P-256 key.',
  },
  ERR_SVID_SIGNATURE_ALGORITHM: {
    what: 'A certificate is signed with an algorithm that is not accepted, such as one with SHA-1.',
    remedy: 'Have the CA sign with ECDSA, RSA or RSA-PSS and SHA-256 or longer, or with Ed25519.',
  },
  ERR_SVID_CRITICAL_EXTENSION: {
    what: 'A certificate has a critical extension, or name constraints, that Postern does not evaluate.',
    remedy: 'Issue certificates without it; the detail names its object identifier.',
  },
  ERR_SVID_SAN_MALFORMED: {
    what: 'A subject alternative name holds a NUL, a control or a non-ASCII byte.',
    remedy: 'Issue a new certificate; treat the issuer as suspect, since such names are made to deceive parsers.',
  },
  ERR_SVID_SAN_NOT_CRITICAL: {
    what: 'The certificate has an empty subject, and its subject alternative name extension is not critical.',
    remedy: 'Mark the extension critical where the subject is empty (X509-SVID §3.1).',
  },
  ERR_SVID_NO_ID: {
    what: 'The certificate has no URI among its subject alternative names, so it is no X509-SVID.',
    remedy: 'Issue a certificate whose one URI SAN is the SPIFFE ID of the workload.',
  },
  ERR_SVID_SEVERAL_IDS: {
    what: 'The certificate has more than one URI among its subject alternative names.',
    remedy: 'Issue one certificate for each SPIFFE ID (X509-SVID §2).',
  },
  ERR_SVID_LEAF_WITHOUT_PATH: {
    what: 'The leaf names a trust domain, not a workload: its SPIFFE ID has no path.',
    remedy: 'Issue the leaf for an ID with a path; IDs without one belong to signing certificates.',
  },
  ERR_SVID_LEAF_IS_CA: {
    what: 'The leaf is a CA certificate; signing certificates never authenticate.',
    remedy: 'Present a leaf whose basic constraints say CA:FALSE, not the certificate of an authority.',
  },
  ERR_SVID_LEAF_CERT_SIGN: {
    what: 'The key usage of the leaf includes keyCertSign.',
    remedy: 'Issue leaves with digitalSignature only.',
  },
  ERR_SVID_LEAF_CRL_SIGN: {
    what: 'The key usage of the leaf includes cRLSign.',
    remedy: 'Issue leaves with digitalSignature only.',
  },
  ERR_SVID_LEAF_NO_DIGITAL_SIGNATURE: {
    what: 'The key usage of the leaf lacks digitalSignature.',
    remedy: 'Issue leaves with digitalSignature.',
  },
  ERR_SVID_NO_KEY_USAGE: {
    what: 'A certificate has no key usage extension.',
    remedy: 'Issue it with a critical key usage extension (X509-SVID §4.3).',
  },
  ERR_SVID_KEY_USAGE_NOT_CRITICAL: {
    what: 'The key usage extension of a certificate is not critical.',
    remedy: 'Mark it critical (X509-SVID §4.3).',
  },
  ERR_SVID_EXTENDED_KEY_USAGE: {
    what: 'The extended key usage of the leaf lacks serverAuth or clientAuth, or that of an issuer forbids this use.',
    remedy: 'Issue leaves with both serverAuth and clientAuth, and intermediates without extended key usage.',
  },
  ERR_SVID_SIGNER_NOT_CA: {
    what: 'A certificate above the leaf is not a CA certificate.',
    remedy: 'Send intermediates whose basic constraints say CA:TRUE.',
  },
  ERR_SVID_SIGNER_NO_CERT_SIGN: {
    what: 'The key usage of a certificate above the leaf lacks keyCertSign.',
    remedy: 'Issue intermediates with keyCertSign.',
  },
  ERR_SVID_SIGNER_HAS_PATH: {
    what: 'The SPIFFE ID of a certificate above the leaf has a path.',
    remedy: 'Issue intermediates for `spiffe://trust-domain` alone (X509-SVID §3.2).',
  },
  ERR_SVID_SIGNER_TRUST_DOMAIN: {
    what: 'A certificate above the leaf belongs to another trust domain than the leaf.',
    remedy: 'Issue the leaf from an intermediate of its own trust domain.',
  },
  ERR_SVID_PATH_LENGTH: {
    what: 'More certificates stand below an issuer than its path length constraint allows.',
    remedy: 'Issue from an intermediate that may sign, or lift the constraint of the one named in the detail.',
  },
  ERR_SVID_NO_ISSUER_KEY_ID: {
    what: 'A certificate does not name the key of its issuer, which is required where other trust domains are federated.',
    remedy: 'Issue certificates with an authority key identifier.',
  },
  ERR_SVID_ISSUER_UNKNOWN: {
    what: 'No certificate that was sent and no authority in any bundle issued this one.',
    remedy: 'Send the intermediates too; check that the peer and this sidecar have the current bundle.',
  },
  ERR_SVID_ISSUER_AMBIGUOUS: {
    what: 'More than one certificate could have issued this one, so that the path is not certain.',
    remedy: 'Send each intermediate once and in one version, and keep one version of each authority in the bundles.',
  },
  ERR_SVID_SIGNATURE: {
    what: 'The signature of a certificate is not by the issuer it names: it is forged, or from an authority of the same name that is not trusted.',
    remedy: 'Check where the certificate comes from, and whether the peer uses the current authority.',
  },
  ERR_SVID_TRUST_DOMAIN_UNKNOWN: {
    what: 'The trust domain of the peer has no bundle here.',
    remedy: 'Add it under `federation`, if its workloads are to be known here.',
  },
  ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN: {
    what: 'The path of the certificate meets an authority of another trust domain than the one it claims.',
    remedy:
      'If the claim is true, issue it from an authority of its own domain; if not, that other domain claims an identity that is not its to give.',
  },
  ERR_SVID_EXPIRED: {
    what: 'The certificate has expired.',
    remedy: 'Renew it; see on the peer why renewal stopped.',
  },
  ERR_SVID_NOT_YET_VALID: {
    what: 'The certificate is not valid yet.',
    remedy: 'Compare the clocks of the peer, of its CA and of this machine.',
  },
  ERR_SVID_ISSUER_EXPIRED: {
    what: 'A certificate above the leaf has expired or is not valid yet.',
    remedy: 'Renew the intermediate or the authority, then the leaf.',
  },
  ERR_SVID_REVOKED: {
    what: 'The certificate, its SPIFFE ID or one of its authorities is revoked.',
    remedy: 'See the revocations in force in `/v1/config`; issue a new certificate once the cause is mended.',
  },
  ERR_TLS_NO_CERTIFICATE: {
    what: 'The peer sent no certificate.',
    remedy: 'Call through a sidecar, or with an X509-SVID as client certificate.',
  },
  ERR_TLS_SESSION_REUSED: {
    what: 'The TLS session is a resumed one, in which the certificate was not checked anew.',
    remedy: 'Nothing resumes sessions here; report how this happened.',
  },
  ERR_TLS_VERSION: {
    what: 'The connection uses an older version of TLS than the one required.',
    remedy: 'Use TLS 1.3, or lower `tls.minVersion` to TLSv1.2 knowingly.',
  },
  ERR_TLS_UNVERIFIED: {
    what: 'OpenSSL refused the certificate for a reason that Postern has no word for.',
    remedy: 'The detail has the words of OpenSSL; check the chain with `openssl verify`.',
  },
  ERR_BUNDLE_MALFORMED: {
    what: 'The trust bundle cannot be read.',
    remedy: 'Give it as PEM certificates or as a SPIFFE bundle (JWKS); the message says what is wrong.',
  },
  ERR_BUNDLE_EMPTY: {
    what: 'The trust bundle holds no X.509 authority, so every certificate of its trust domain would be invalid.',
    remedy: 'Put at least one root certificate into it.',
  },
  ERR_BUNDLE_AUTHORITY: {
    what: 'A certificate in the trust bundle cannot be an authority of that trust domain.',
    remedy: 'The message says why; put the self-signed root in its place.',
  },
  ERR_BUNDLE_OLDER: {
    what: 'A bundle has a lower sequence than the one in force.',
    remedy: 'Publish the newest bundle; to go back knowingly, publish the old content with a higher sequence, or restart.',
  },
  ERR_BUNDLE_ENDPOINT: {
    what: 'The bundle endpoint of another trust domain gave no bundle.',
    remedy: 'The message says why; the last good bundle stays in force, and the endpoint is asked again.',
  },
  ERR_BUNDLE_CONFLICT: {
    what: 'Two trust domains share an authority, its key, or its name and key identifier, so that their members could not be told apart.',
    remedy: 'Give each trust domain its own authority.',
  },
  ERR_IDENTITY_CERTIFICATE: {
    what: 'Our own certificate chain cannot be used.',
    remedy: 'The message says why; issue a new one with `postern certs issue` or at the CA.',
  },
  ERR_IDENTITY_KEY: {
    what: 'Our own private key cannot be used with our certificate.',
    remedy: 'Give the unencrypted PKCS#8 key that belongs to the certificate.',
  },
} as const
