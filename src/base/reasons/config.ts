/** Reason codes of configuration documents. */
export const configReasons = {
  ERR_CONFIG_SYNTAX: {
    what: 'The document is not valid YAML.',
    remedy: 'Mend the line and column named in the message.',
  },
  ERR_CONFIG_UNKNOWN_KEY: {
    what: 'The document has a key that does not exist.',
    remedy: 'Use the suggested key, or remove it; docs/configuration.md lists them all.',
  },
  ERR_CONFIG_VALUE: {
    what: 'A value in the document is not of the form its key takes.',
    remedy: 'The message says which form; docs/configuration.md has examples.',
  },
} as const
