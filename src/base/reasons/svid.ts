/** Reason codes of certificates, chains and bundles. */
export const svidReasons = {
  ERR_SVID_MALFORMED: {
    what: 'The certificate cannot be parsed.',
    remedy: 'Look at it with `postern certs inspect FILE`; issue a new one.',
  },
} as const
