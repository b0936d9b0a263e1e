/** How the certificate tools speak: ticks, spans, columns, and text from certificates made safe for a terminal. */
import type { CommandIo } from '#cli/command'

/** Characters that move the cursor, colour or reorder what follows are shown as `\u{…}`: a certificate's text is not its reader's friend. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
}

/** Indented JSON with a newline at its end; what `printable` would show is escaped, so that it reads back as it was. */
export function jsonText(value: unknown): string {
  const json = JSON.stringify(value, undefined, 2)
  return `${json.replace(/[\x7f-\x9f\p{Cf}\p{Co}\u2028\u2029]/gu, (character) => character.split('').map(escapeUnit).join(''))}\n`
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** `2d 3h`, `7h 59m`, `4m 10s`, `9s`: the two largest units. */
export function spanText(ms: number): string {
  const seconds = Math.floor(Math.abs(ms) / 1000)
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const
  const first = parts.findIndex(([count]) => count > 0)
  if (first === -1) return '0s'
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ')
}

/** `2026-11-24T19:51:36Z`; times beyond what a Date holds come out as `never`. */
export function timeText(ms: number): string {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString().replace('.000Z', 'Z') : 'never'
}

/** `in force for 7h 59m more`, `ended 2d 3h ago`, `begins in 5m`. */
export function validityText(notBefore: number, notAfter: number, now: number): string {
  if (now < notBefore) return `begins in ${spanText(notBefore - now)}`
  return now >= notAfter ? `ended ${spanText(now - notAfter)} ago` : `${spanText(notAfter - now)} left`
}

/** Rows of label and value, the values in one column. */
export function columns(rows: readonly (readonly [string, string])[], indent = ''): string {
  const width = Math.max(0, ...rows.map(([label]) => label.length))
  return rows.map(([label, value]) => `${indent}${label.padEnd(width)}  ${value}\n`).join('')
}

export type Mark = '√' | '‼' | '×'

const COLOURS: Readonly<Record<Mark, number>> = { '√': 32, '‼': 33, '×': 31 }

/** A tick, a warning or a cross, coloured where a terminal shows it. */
export function mark(sign: Mark, io: Pick<CommandIo, 'colour'>): string {
  return io.colour ? `\x1b[${COLOURS[sign]}m${sign}\x1b[0m` : sign
}

/** A path as a shell takes it. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
