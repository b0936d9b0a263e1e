/** RFC 3339 times with milliseconds, cheap where many fall into one second. */

const MILLIS = Array.from({ length: 1000 }, (_, index) => `${String(index).padStart(3, '0')}Z`)

/** A formatter that remembers the last second it wrote. @returns ms since the epoch → `2026-11-24T18:41:07.123Z` */
export function createTimeText(): (time: number) => string {
  let second = Number.NaN
  let prefix = ''
  return (time) => {
    const whole = Math.floor(time)
    const start = whole - (((whole % 1000) + 1000) % 1000)
    if (start !== second) {
      second = start
      prefix = isoTime(start).slice(0, -4)
    }
    return prefix + (MILLIS[whole - start] ?? '000Z')
  }
}

/** A time from a document or certificate, which may lie beyond what dates can say. */
export function isoTime(time: number): string {
  return Math.abs(time) <= 8.64e15 ? new Date(time).toISOString() : time > 0 ? '9999-12-31T23:59:59.999Z' : '0000-01-01T00:00:00.000Z'
}
