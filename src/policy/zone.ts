/** Local time of a time zone, and the instants at which something about it changes, over daylight-saving shifts too. */

const DAY = 86_400_000
/** How far ahead an unchanged offset is looked for: more than the week after which days and hours repeat. */
const HORIZON = 8 * DAY

/** A stretch of time with one offset from UTC, in ms. */
interface Stretch {
  readonly from: number
  readonly until: number
  readonly offset: number
}

export interface Zone {
  /** The stretch that holds an instant. Its end is a shift, or merely as far as was looked. */
  stretchAt(now: number): Stretch
}

/** Whether `Intl` knows a time zone. */
export function isTimezone(name: string): boolean {
  try {
    return Intl.DateTimeFormat('en-US', { timeZone: name }).format(0) !== ''
  } catch {
    return false
  }
}

/** @param name one that `isTimezone` takes */
export function createZone(name: string): Zone {
  if (name === 'UTC') return { stretchAt: () => ({ from: -Infinity, until: Infinity, offset: 0 }) }
  const offsetAt = createOffset(name)
  let known: Stretch = { from: 0, until: 0, offset: 0 }
  return {
    stretchAt(now) {
      if (now < known.from || now >= known.until) known = measure(now, offsetAt)
      return known
    },
  }
}

function createOffset(timeZone: string): (now: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  return (now) => {
    const seconds = Math.floor(now / 1000) * 1000
    const parts = new Map(format.formatToParts(seconds).map(({ type, value }) => [type, Number(value)]))
    const part = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? 0
    return Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second')) - seconds
  }
}

/** Looks ahead a day at a time; no zone shifts twice in a day. */
function measure(now: number, offsetAt: (now: number) => number): Stretch {
  const offset = offsetAt(now)
  for (let ahead = DAY; ahead <= HORIZON; ahead += DAY) {
    if (offsetAt(now + ahead) === offset) continue
    let same = now + ahead - DAY
    let other = now + ahead
    while (other - same > 1) {
      const middle = Math.floor((same + other) / 2)
      if (offsetAt(middle) === offset) same = middle
      else other = middle
    }
    return { from: now, until: other, offset }
  }
  return { from: now, until: now + HORIZON, offset }
}

/** A condition on local time, as two pure functions of it. */
export interface LocalCondition {
  /** @param local ms since the epoch as the wall clock of the zone reads */
  holds(local: number): boolean
  /** The next local instant at which it may change, after `local`. */
  nextAfter(local: number): number
}

/** @param after seconds of the day, inclusive. @param before exclusive; 86,400 is the day's end. */
export function hoursCondition(after: number, before: number): LocalCondition {
  const wraps = after > before
  return {
    holds(local) {
      const second = Math.floor(mod(local, DAY) / 1000)
      return wraps ? second >= after || second < before : second >= after && second < before
    },
    nextAfter(local) {
      const start = local - mod(local, DAY)
      const next = (second: number): number => (start + second * 1000 > local ? start + second * 1000 : start + DAY + second * 1000)
      return Math.min(next(after), next(before))
    },
  }
}

/** @param days 0 is Sunday */
export function daysCondition(days: readonly number[]): LocalCondition {
  return {
    // The epoch was a Thursday.
    holds: (local) => days.includes(mod(Math.floor(local / DAY) + 4, 7)),
    nextAfter: (local) => local - mod(local, DAY) + DAY,
  }
}

/** A condition on time that remembers its value until it changes. */
export interface TimeCondition {
  holds(now: number): boolean
  /** The instant, after `now`, until which `holds` keeps its value; Infinity if it never changes again. */
  changesAt(now: number): number
}

/** @param constant it never changes */
export function inZone(zone: Zone, condition: LocalCondition, constant: boolean): TimeCondition {
  const holds = (now: number): boolean => condition.holds(now + zone.stretchAt(now).offset)
  let from = 0
  let until = 0
  let value = false
  const refresh = (now: number): void => {
    if (now >= from && now < until) return
    value = holds(now)
    from = now
    until = constant ? Infinity : changeAfter(zone, condition, now, value)
  }
  return {
    holds(now) {
      refresh(now)
      return value
    },
    changesAt(now) {
      refresh(now)
      return until
    },
  }
}

/** Walks from boundary to boundary and shift to shift until the value differs. */
function changeAfter(zone: Zone, condition: LocalCondition, now: number, value: boolean): number {
  let at = now
  // Two boundaries a day over a week and some shifts: the limit is never reached, and an early answer is only a second look.
  for (let step = 0; step < 32; step++) {
    const { offset, until } = zone.stretchAt(at)
    at = Math.min(condition.nextAfter(at + offset) - offset, until)
    if (condition.holds(at + zone.stretchAt(at).offset) !== value) return at
  }
  return at
}

function mod(value: number, by: number): number {
  const rest = value % by
  return rest < 0 ? rest + by : rest
}
