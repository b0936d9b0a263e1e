/** Options and positional arguments of a subcommand, by node:util's `parseArgs`, with mistakes as usage errors that suggest what was meant. */
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util'
import { PosternError } from '#base/errors'
import { nearest } from '#base/suggest'

/** How many positional arguments a command takes, and what they are called in messages. Default: none. */
export interface Positionals {
  /** As the usage line writes them: `FILE…`. */
  readonly name: string
  readonly min?: number
  /** Default: no limit. */
  readonly max?: number
}

type Parsed<T extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ args: string[]; options: T; allowPositionals: true; strict: true }>
>

/** `--help` and `-h` are understood by the dispatcher before a command sees them. @throws ERR_USAGE */
export function parseArguments<T extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: T,
  positionals?: Positionals,
): Parsed<T> {
  const parsed = parseStrictly(args, options)
  const count = parsed.positionals.length
  if (count > 0 && positionals === undefined) {
    throw usage(`unexpected argument \`${String(parsed.positionals[0])}\`: this command takes only options.`)
  }
  if (positionals !== undefined && count < (positionals.min ?? 0)) throw usage(`${positionals.name} is missing.`)
  if (positionals?.max !== undefined && count > positionals.max) {
    throw usage(`unexpected argument \`${String(parsed.positionals[positionals.max])}\` after ${positionals.name}.`)
  }
  return parsed
}

function parseStrictly<T extends ParseArgsOptionsConfig>(args: readonly string[], options: T): Parsed<T> {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
  } catch (error) {
    if (!(error instanceof TypeError) || !isParseArgsCode((error as NodeJS.ErrnoException).code)) throw error
    throw usage(describe(error, options), error)
  }
}

function isParseArgsCode(code: unknown): boolean {
  return typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS_')
}

function describe(error: TypeError, options: ParseArgsOptionsConfig): string {
  const unknown = /^Unknown option '(--?)([^']+)'/.exec(error.message)
  if (unknown !== null) {
    const [, dashes = '--', name = ''] = unknown
    const meant = nearest(name, Object.keys(options))
    return `there is no option \`${dashes}${name}\`.${meant === undefined ? '' : ` Did you mean \`--${meant}\`?`}`
  }
  const value = /^Option '(?:-\w, )?(--[\w-]+)(?: <value>)?' (argument missing|argument is ambiguous|does not take an argument)/.exec(
    error.message,
  )
  if (value === null) return error.message
  const [, option = '', what = ''] = value
  if (what === 'does not take an argument') return `\`${option}\` takes no value.`
  if (what === 'argument missing') return `\`${option}\` needs a value.`
  return `the value of \`${option}\` begins with a dash: write \`${option}=-…\` if that is meant.`
}

/** A mistake in how a command was called: status 2. */
export function usage(message: string, cause?: unknown): PosternError {
  return new PosternError('ERR_USAGE', message, cause === undefined ? {} : { cause })
}
