/** What a rate limit means: how fast requests are earned back, and how it is called. */
import type { RateLimit } from './decision.ts'
import type { PolicyRule, RuleLimit } from './document.ts'

/** Ms. */
const WINDOWS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 }
const MOST_REQUESTS = 1_000_000

export interface Rate {
  readonly count: number
  /** Ms. */
  readonly window: number
}

/** `100/s` `100/m` `100/h`, from 1 to a million; undefined if it is none. */
export function parseRate(text: string): Rate | undefined {
  const match = /^([1-9]\d{0,6})\/([smh])$/.exec(text)
  const window = WINDOWS[match?.[2] ?? '']
  const count = Number(match?.[1])
  return window === undefined || count > MOST_REQUESTS ? undefined : { count, window }
}

/** One second's worth, rounded up. */
export function defaultBurst({ count, window }: Rate): number {
  return Math.ceil((count * 1000) / window)
}

/** The limit of a rule of that policy, as decisions name it. */
export function compileLimit(policy: string, { name, limit }: PolicyRule): RateLimit | undefined {
  if (limit === undefined) return undefined
  const { requests, burst, per } = limit
  const rate = parseRate(requests)
  if (rate === undefined) throw new TypeError(`\`${requests}\` is no rate, and was read as one`)
  const key = JSON.stringify([policy, name, requests, burst, per])
  return Object.freeze({ key, interval: rate.window / rate.count, burst, per, text: limitText(limit) })
}

/** `at most 100 requests/s per peer, burst 200` */
export function limitText({ requests, burst, per }: RuleLimit): string {
  const [count = '', unit = ''] = requests.split('/')
  return `at most ${count} request${count === '1' ? '' : 's'}/${unit} ${per === 'all' ? 'in all' : `per ${per}`}, burst ${burst}`
}
