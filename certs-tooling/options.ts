/** Options that several certificate tools share. */
import { resolve } from 'node:path'
import { PosternError } from '#base/errors'
import { parseSpan } from '#base/units'
import { usage } from '#cli/arguments'
import type { CommandIo } from '#cli/command'
import { KEY_ALGORITHMS, type KeyAlgorithm } from '#pki/keys'
import { readFile } from './files.ts'

/** @returns ms, at least 1. @throws ERR_USAGE */
export function spanOption(option: string, text: string): number {
  const span = parseSpan(text)
  if (span === undefined || span === 0) throw usage(`\`${option} ${text}\`: write a span such as 90s, 10m, 8h or 7d.`)
  return span
}

export function keyAlgorithmOption(text: string): KeyAlgorithm {
  const known = KEY_ALGORITHMS.find((name) => name.toLowerCase() === text.toLowerCase())
  if (known === undefined) throw usage(`\`--key-algorithm ${text}\`: choose ${KEY_ALGORITHMS.join(', ')}.`)
  return known
}

/** `--output`: true for json. */
export function jsonOption(output: string): boolean {
  if (output !== 'text' && output !== 'json') throw usage(`\`--output ${output}\`: choose text or json.`)
  return output === 'json'
}

export const PASSWORD_OPTIONS = {
  'password-file': { type: 'string' },
  'password-env': { type: 'string' },
} as const

export interface PasswordOptions {
  readonly 'password-file'?: string | undefined
  readonly 'password-env'?: string | undefined
}

/**
 * The password, or undefined where neither option was given. Of a file the first line counts, without its line end.
 * There is no option that takes the password itself: every user of the machine can read a command line.
 */
export function passwordOption(values: PasswordOptions, io: Pick<CommandIo, 'env' | 'cwd'>): string | undefined {
  const file = values['password-file']
  const name = values['password-env']
  if (file !== undefined && name !== undefined) throw usage('`--password-file` and `--password-env` exclude each other.')
  if (file !== undefined) return firstLine(readFile(resolve(io.cwd, file), file))
  if (name === undefined) return undefined
  const password = io.env[name]
  if (password === undefined)
    throw new PosternError('ERR_PASSWORD_MISSING', `The environment has no variable \`${name}\`, which \`--password-env\` names.`)
  return password
}

function firstLine(content: Buffer): string {
  return (
    content
      .toString('utf8')
      .replace(/^\uFEFF/, '')
      .split(/\r?\n/, 1)[0] ?? ''
  )
}
