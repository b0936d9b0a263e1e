/** Times and spans as the checks tell them. */

const HOUR = 3_600_000
const DAY = 24 * HOUR

export function iso(time: number): string {
  return new Date(time).toISOString()
}

/** About how long, for people. */
export function span(ms: number): string {
  const units = [
    ['day', DAY],
    ['hour', HOUR],
    ['minute', 60_000],
    ['second', 1000],
  ] as const
  const [name, size] = units.find(([, unit]) => ms >= 2 * unit) ?? units[3]
  const count = Math.round(ms / size)
  return `${count} ${name}${count === 1 ? '' : 's'}`
}
