/** Reason codes of the command line. */
export const toolReasons = {
  ERR_DEMO: {
    what: 'The demo could not be started.',
    remedy: 'The message says which part failed, with the last line of each process.',
  },
  ERR_USAGE: {
    what: 'The command was called with arguments it does not take.',
    remedy: 'Run the command with `--help` for its usage and an example.',
  },
  ERR_ADMIN_UNREACHABLE: {
    what: 'No sidecar answers on the admin address.',
    remedy: 'Give the address of `spec.admin` with `--admin`, run as the user that the sidecar runs as, and check that it runs.',
  },
  ERR_ADMIN_REQUEST_UNKNOWN: {
    what: 'The sidecar keeps no decision and no refused handshake with this id.',
    remedy:
      'Only the latest 1,000 of each kind are kept; look for the id in the decision records, and decide offline with `postern explain --policies`.',
  },
  ERR_KEY_UNREADABLE: {
    what: 'A private key cannot be read.',
    remedy: 'Give an unencrypted PKCS#8, SEC 1 or PKCS#1 key; `postern certs inspect FILE` says what a file holds.',
  },
  ERR_AUTHORITY_UNUSABLE: {
    what: 'A signing authority cannot be used: its files do not belong together, it is no authority, or its time has ended.',
    remedy: 'Look at it with `postern certs inspect FILE`; make a new one with `postern certs init`.',
  },
  ERR_ISSUE_ID: {
    what: 'The SPIFFE ID is not one this authority may give to a workload.',
    remedy: 'Ask for an ID with a path, in the trust domain of the authority.',
  },
  ERR_KEY_WEAK: {
    what: 'A key is of a kind or length that is not certified.',
    remedy: 'Make a new key: P-256 is the default; P-384, P-521, Ed25519 and RSA of 2,048 to 4,096 bits are taken too.',
  },
  ERR_CSR_UNREADABLE: {
    what: 'A certificate request cannot be parsed.',
    remedy: 'Give one PKCS#10 request as PEM or DER; `postern certs inspect FILE` says what a file holds.',
  },
  ERR_CSR_SIGNATURE: {
    what: 'A certificate request is not signed with the key it holds.',
    remedy: 'Make the request anew with the private key whose public half it carries.',
  },
  ERR_ISSUE_TTL: {
    what: 'The life asked for a certificate is no span of time.',
    remedy: 'Give a span such as `90s`, `10m`, `8h` or `7d`.',
  },
  ERR_AUTHORITY_TRUST_DOMAIN: {
    what: 'The name given for a trust domain is none.',
    remedy: 'Write lower-case letters, digits, `.`, `-` and `_`, at most 255, as in `example.org`.',
  },
  ERR_AUTHORITY_EXISTS: {
    what: 'The folder holds an authority, or parts of one, that would be overwritten.',
    remedy: 'Choose another folder; `--force` replaces it, and every certificate it signed is refused from then on.',
  },
  ERR_FILE_UNREADABLE: {
    what: 'A file cannot be read.',
    remedy: 'Check its path, owner and mode; the message says what the system answered.',
  },
  ERR_FILE_UNWRITABLE: {
    what: 'A file cannot be written.',
    remedy: 'Check the folder, its owner and mode, and the space left; the message says what the system answered.',
  },
  ERR_FILE_EXISTS: {
    what: 'The output file exists.',
    remedy: 'Name another, or add `--force` to replace it.',
  },
  ERR_FILE_KIND: {
    what: 'A file does not hold what the command needs.',
    remedy: 'The message says what it holds and what is needed; `postern certs inspect FILE` shows it.',
  },
  ERR_PASSWORD_MISSING: {
    what: 'A file is, or is to be, encrypted, and no password was given.',
    remedy: 'Give it with `--password-file FILE` or `--password-env NAME`; it is never asked for, and never taken from the command line.',
  },
  ERR_PASSWORD_WRONG: {
    what: 'The password does not open the file.',
    remedy: 'Check the password; a file made elsewhere may have been written with another encoding of it.',
  },
  ERR_PKCS12_UNSUPPORTED: {
    what: 'A PKCS#12 file is protected or built in a way that is not read here.',
    remedy: 'Write it anew where it came from, with AES-256 and HMAC-SHA-256, as OpenSSL 3 and Java 17 do by default.',
  },
  ERR_PKCS12_MALFORMED: {
    what: 'A file looks like PKCS#12 and is not well-formed.',
    remedy: 'It may have been cut short or passed through a text editor; export it again.',
  },
  ERR_CHAIN_KEY_MISMATCH: {
    what: 'The private key is of none of the certificates given with it.',
    remedy: 'Give the certificate that was issued for this key; `postern certs inspect` shows the same key digest for both.',
  },
} as const
