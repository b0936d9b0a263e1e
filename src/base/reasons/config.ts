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
  ERR_CONFIG_MISSING_KEY: {
    what: 'The document lacks a key that must be there.',
    remedy: 'Add the key that the message names; docs/configuration.md has examples.',
  },
  ERR_CONFIG_NOT_YET: {
    what: 'The document uses a word that this version knows but does not implement.',
    remedy: 'Use what the message names instead, or wait for the version that brings it; CHANGELOG.md says which.',
  },
  ERR_CONFIG_UNSAFE: {
    what: 'The document would open a way around the sidecar, or past it.',
    remedy: 'Bind the address to loopback or a Unix socket; the message names the option that allows it all the same, where there is one.',
  },
  ERR_CONFIG_FILE: {
    what: 'A file that the configuration names cannot be read.',
    remedy: 'Check that it exists, is a regular file and is readable to the user that Postern runs as.',
  },
  ERR_CONFIG_DUPLICATE_NAME: {
    what: 'Two policy documents have the same name.',
    remedy: 'Both are in force; give each a name of its own, so that records and `explain` tell which of them decided.',
  },
  ERR_CONFIG_READER: {
    what: 'The thread that reads configuration failed.',
    remedy: 'If it ran out of memory, make the documents smaller; otherwise report it with the message and the documents.',
  },
  ERR_CONFIG_INVALID: {
    what: 'The configuration as a whole cannot be used.',
    remedy: 'Mend each fault listed with it; `postern check --config FILE` lists them too.',
  },
} as const
