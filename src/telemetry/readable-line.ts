/** A log line for people: `19:01:03.419 warn  message  key=value`, and under it the stack of an error. */
import { visibleText } from './visible-text.ts'

const COLOURS: Readonly<Record<string, number>> = { debug: 2, info: 32, warn: 33, error: 31, fatal: 31 }

/** @param line JSON as pino wrote it, newline included */
export function readableLine(line: string, colour: boolean): string {
  const { level, time, name: _, msg, err, ...fields } = JSON.parse(line) as Readonly<Record<string, unknown>>
  const label = String(level)
  const paint = (code: number | undefined, text: string): string =>
    colour && code !== undefined ? `\u001b[${code}m${text}\u001b[0m` : text
  const error = errorParts(err)
  const parts = [
    paint(2, String(time).slice(11, 23)),
    paint(COLOURS[label], label.padEnd(5)),
    visibleText(String(msg)),
    ...Object.entries({ ...error.fields, ...fields }).map(([key, value]) => `${paint(2, `${visibleText(key)}=`)}${valueText(value)}`),
  ]
  const stack = error.stack === '' || label === 'warn' ? [] : error.stack.split('\n').map((frame) => `    ${visibleText(frame)}`)
  return `${[parts.join('  '), ...stack].join('\n')}\n`
}

function errorParts(err: unknown): { readonly fields: Readonly<Record<string, unknown>>; readonly stack: string } {
  if (typeof err !== 'object' || err === null) return { fields: err === undefined ? {} : { err }, stack: '' }
  const { message, code, stack } = err as Readonly<Record<string, unknown>>
  return { fields: { err: message, ...(code === undefined ? {} : { code }) }, stack: typeof stack === 'string' ? stack : '' }
}

function valueText(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=]+$/.test(value)) return visibleText(value)
  return visibleText(JSON.stringify(value) ?? '')
}
