/** What a subcommand is: a summary, a help text with an example, and a function from arguments to an exit status. */
import type { Writable } from 'node:stream'

export interface CommandIo {
  readonly stdin: NodeJS.ReadableStream
  /** Data. */
  readonly stdout: Writable
  /** Talk. */
  readonly stderr: Writable
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Colour may be used on stdout. */
  readonly colour: boolean
}

/** 0 well · 1 the answer is no · 2 wrong usage or configuration · 70 a bug of ours. */
export type ExitStatus = 0 | 1 | 2 | 70

export interface Command {
  readonly summary: string
  /** Printed for `--help`; ends with an example. */
  readonly help: string
  /** Each loaded when called, with its own `--help`; `run` is for arguments that name none of them. */
  readonly subcommands?: Readonly<Record<string, () => Promise<Command>>>
  run(args: readonly string[], io: CommandIo): Promise<ExitStatus>
}
