/** Faults of configuration as one error to refuse to start with, and back. */
import { relative, sep } from 'node:path'
import { formatProblem, type Problem } from '#base/located'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'

/** One error that says all of them, a line each; `facts.problems` holds them. */
export function configurationError(problems: readonly Problem[]): PosternError {
  const errors = problems.filter(({ severity }) => severity === 'error')
  const count = errors.length === 1 ? 'an error' : `${errors.length} errors`
  const lines = errors.map((problem) => `\n  ${formatProblem(problem)}`)
  return new PosternError('ERR_CONFIG_INVALID', `The configuration has ${count}:${lines.join('')}\n`, { facts: { problems } })
}

/** The problems behind an error: its own list, or itself as one that stands in `file`. Anything but a PosternError is thrown on. */
export function problemsOf(error: unknown, file: string): readonly Problem[] {
  if (!(error instanceof PosternError)) throw error
  const { problems } = error.facts
  return Array.isArray(problems) ? (problems as readonly Problem[]) : [fileProblem(file, error.code, error.message)]
}

/** What a file is called in problems: relative where that is shorter to read, as compilers do. */
export function displayName(path: string, folder: string): string {
  const name = relative(folder, path)
  return name === '' || name.startsWith(`..${sep}`) || name === '..' ? path : name
}

/** A fault of a file as a whole. */
export function fileProblem(file: string, code: ReasonCode, message: string): Problem {
  return { severity: 'error', code, message, at: { file, line: 1, column: 1 } }
}

/** Without the place, which the status of the file it stands in says already. */
export function describeProblems(problems: readonly Problem[]): string | undefined {
  const errors = problems.filter(({ severity }) => severity === 'error')
  if (errors.length === 0) return undefined
  return errors
    .map(({ at, message, code, suggestion }) => {
      const place = at.line === 1 && at.column === 1 ? '' : `${at.line}:${at.column}: `
      return `${place}${message}${suggestion === undefined ? '' : ` Did you mean \`${suggestion}\`?`} (${code})`
    })
    .join('\n')
}
