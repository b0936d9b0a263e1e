/** Reads `date`, `day_of_week` and `time_of_day`. */
import type { LocatedEntry, LocatedValue } from '#base/located'
import { nearest } from '#base/suggest'
import { asMap, asString, complain, type Complaints, entriesOf, unknownWord } from './complaints.ts'
import type { Criterion } from './document.ts'
import { isTimezone } from './zone.ts'

type Body<K extends Criterion['kind']> = Omit<Extract<Criterion, { kind: K }>, 'name' | 'line' | 'column'>

/** RFC 3339 §5.6, to ms since the epoch. Leap seconds are refused; digits behind the millisecond are cut. */
export function parseInstant(text: string): number | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/.exec(text)
  if (match === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number)
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59) return undefined
  const [offsetHours, offsetMinutes] = [Number(match[9] ?? 0), Number(match[10] ?? 0)]
  if (offsetHours > 23 || offsetMinutes > 59) return undefined
  const offset = (match[8] === '-' ? -1 : 1) * (offsetHours * 60 + offsetMinutes) * 60_000
  const fraction = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3))
  const local = new Date(0)
  // Not Date.UTC, which takes the years 0 to 99 for 1900 to 1999.
  local.setUTCFullYear(year, month - 1, day)
  local.setUTCHours(hour, minute, second, fraction)
  return local.getTime() - offset
}

function daysIn(year: number, month: number): number {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  return month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31
}

export function readDate(value: LocatedValue, complaints: Complaints): Body<'date'> | undefined {
  const map = asMap(value, '`date`', complaints)
  if (map === undefined) return undefined
  const entries = entriesOf(map, '`date`', ['after', 'before'], complaints)
  if (map.entries.length === 0) return complain(complaints, 'ERR_POLICY_EMPTY', map.at, '`date` needs `after`, `before` or both.')
  const after = readInstant(entries.get('after'), complaints)
  const before = readInstant(entries.get('before'), complaints)
  if (after === 'wrong' || before === 'wrong') return undefined
  if (after !== undefined && before !== undefined && after >= before) {
    return complain(complaints, 'ERR_POLICY_VALUE', map.at, '`after` is not before `before`, so this date never comes.')
  }
  return { kind: 'date', after, before }
}

function readInstant(entry: LocatedEntry | undefined, complaints: Complaints): number | undefined | 'wrong' {
  if (entry === undefined) return undefined
  const text = asString(entry.value, `\`${entry.key}\``, complaints)
  if (text === undefined) return 'wrong'
  const instant = parseInstant(text)
  if (instant !== undefined) return instant
  const suggestion = [`${text}Z`, `${text}T00:00:00Z`, `${text}:00Z`].find((better) => parseInstant(better) !== undefined)
  complain(
    complaints,
    'ERR_POLICY_VALUE',
    entry.value.at,
    `\`${entry.key}\` must be an instant as RFC 3339 writes it, with its offset from UTC: 2030-01-31T08:00:00Z.`,
    suggestion,
  )
  return 'wrong'
}

const DAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday']

/** PPL takes three letters or the whole English name. */
function dayNumber(word: string): number {
  return DAYS.findIndex((day) => day === word || day.slice(0, 3) === word)
}

export function readDayOfWeek(value: LocatedValue, complaints: Complaints): Body<'day_of_week'> | undefined {
  if (value.kind !== 'map') {
    const days = readDays(value, complaints)
    return days === undefined ? undefined : { kind: 'day_of_week', days, timezone: 'UTC' }
  }
  const entries = entriesOf(value, '`day_of_week`', ['is', 'days', 'timezone'], complaints)
  const named = entries.get('days') ?? entries.get('is')
  if (named === undefined || (entries.has('days') && entries.has('is'))) {
    return complain(
      complaints,
      'ERR_POLICY_SHAPE',
      value.at,
      '`day_of_week` needs `days`, as in `{ days: mon-fri, timezone: Europe/Berlin }`.',
    )
  }
  const days = readDays(named.value, complaints)
  const zone = entries.get('timezone')
  const timezone = zone === undefined ? 'UTC' : readTimezone(zone, complaints)
  return days === undefined || timezone === undefined ? undefined : { kind: 'day_of_week', days, timezone }
}

/** `mon,wed-fri`, or a list of such. */
function readDays(value: LocatedValue, complaints: Complaints): number[] | undefined {
  if (value.kind === 'list') {
    if (value.items.length === 0) return complain(complaints, 'ERR_POLICY_EMPTY', value.at, '`day_of_week` must name a day.')
    const lists = value.items.map((item) => readDays(item, complaints))
    return lists.includes(undefined) ? undefined : sorted(lists.flatMap((days) => days ?? []))
  }
  const text = asString(value, '`day_of_week`', complaints)
  if (text === undefined) return undefined
  if (text === '*') return [0, 1, 2, 3, 4, 5, 6]
  const days: number[] = []
  for (const part of text.split(',')) {
    const ends = part.trim().split('-')
    const [first = '', last = first] = ends
    const [from, to] = [dayNumber(first), dayNumber(last)]
    if (from === -1 || to === -1 || ends.length > 2) {
      const wrong = from === -1 ? first : last
      const meant = nearest(wrong, [...DAYS, ...DAYS.map((day) => day.slice(0, 3))])
      return complain(
        complaints,
        'ERR_POLICY_VALUE',
        value.at,
        `\`${part.trim()}\` is no day or range of days; write \`*\`, \`mon\`, \`mon,wed\` or \`fri-mon\`.`,
        ends.length > 2 ? undefined : meant,
      )
    }
    for (let day = from; ; day = (day + 1) % 7) {
      days.push(day)
      if (day === to) break
    }
  }
  return sorted(days)
}

function sorted(days: readonly number[]): number[] {
  return [...new Set(days)].sort((a, b) => a - b)
}

export function readTimeOfDay(value: LocatedValue, complaints: Complaints): Body<'time_of_day'> | undefined {
  const map = asMap(value, '`time_of_day`', complaints)
  if (map === undefined) return undefined
  const entries = entriesOf(map, '`time_of_day`', ['timezone', 'after', 'before'], complaints)
  const [after, before] = [entries.get('after'), entries.get('before')]
  const zone = entries.get('timezone')
  if (zone === undefined) {
    return complain(complaints, 'ERR_POLICY_VALUE', map.at, '`time_of_day` needs `timezone`, such as `UTC` or `Europe/Berlin`.')
  }
  if (after === undefined && before === undefined) {
    return complain(complaints, 'ERR_POLICY_EMPTY', map.at, '`time_of_day` needs `after`, `before` or both.')
  }
  const timezone = readTimezone(zone, complaints)
  const start = after === undefined ? 0 : readClock(after, complaints)
  const end = before === undefined ? 86_400 : readClock(before, complaints)
  if (timezone === undefined || start === undefined || end === undefined) return undefined
  if (start === end)
    return complain(complaints, 'ERR_POLICY_VALUE', map.at, '`after` and `before` are the same time, so this span is empty.')
  return { kind: 'time_of_day', after: start, before: end, timezone }
}

/** `H:MM[:SS]`, to seconds of the day. */
function readClock(entry: LocatedEntry, complaints: Complaints): number | undefined {
  const text = asString(entry.value, `\`${entry.key}\``, complaints)
  if (text === undefined) return undefined
  const match = /^([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/.exec(text)
  if (match !== null) return Number(match[1]) * 3600 + Number(match[2]) * 60 + Number(match[3] ?? 0)
  const message = `\`${entry.key}\` must be a time of day as \`H:MM\` or \`H:MM:SS\` from 0:00 to 23:59:59.`
  return complain(complaints, 'ERR_POLICY_VALUE', entry.value.at, message, twentyFourHours(text))
}

/** PPL's `4:30PM` in the form taken here. */
function twentyFourHours(text: string): string | undefined {
  const match = /^(\d{1,2})(?::([0-5]\d))?\s?([AaPp])[Mm]$/.exec(text)
  if (match === null || Number(match[1]) < 1 || Number(match[1]) > 12) return undefined
  const hour = (Number(match[1]) % 12) + (match[3]?.toLowerCase() === 'p' ? 12 : 0)
  return `${hour}:${match[2] ?? '00'}`
}

function readTimezone(entry: LocatedEntry, complaints: Complaints): string | undefined {
  const name = asString(entry.value, '`timezone`', complaints)
  if (name === undefined || isTimezone(name)) return name
  if (name === '') return complain(complaints, 'ERR_POLICY_EMPTY', entry.value.at, '`timezone` must name a time zone.')
  return unknownWord(complaints, entry.value.at, `There is no time zone \`${name}\``, name, ['UTC', ...Intl.supportedValuesOf('timeZone')])
}
