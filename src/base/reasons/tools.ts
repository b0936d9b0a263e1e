/** Reason codes of the command line. */
export const toolReasons = {
  ERR_USAGE: {
    what: 'The command was called with arguments it does not take.',
    remedy: 'Run the command with `--help` for its usage and an example.',
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
} as const
