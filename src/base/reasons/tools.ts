/** Reason codes of the command line. */
export const toolReasons = {
  ERR_USAGE: {
    what: 'The command was called with arguments it does not take.',
    remedy: 'Run the command with `--help` for its usage and an example.',
  },
} as const
