/** Reads `limit`: how often callers may make use of allow rules. */
import type { LocatedEntry, LocatedValue } from '#base/located'
import { asMap, asString, complain, type Complaints, entriesOf, inWords, unknownWord } from './complaints.ts'
import type { LimitGroup, RuleLimit } from './document.ts'
import { defaultBurst, parseRate } from './limit.ts'

const GROUPS: readonly LimitGroup[] = ['peer', 'service_account', 'namespace', 'trust_domain', 'source_ip', 'all']
const LARGEST_BURST = 1_000_000

/** The limit of a rule. @param fallback the document's, which `none` lifts */
export function readRuleLimit(
  entry: LocatedEntry | undefined,
  fallback: RuleLimit | undefined,
  complaints: Complaints,
): RuleLimit | undefined {
  if (entry === undefined) return fallback
  const { value } = entry
  return value.kind === 'scalar' && value.value === 'none' ? undefined : readLimit(value, complaints)
}

export function readLimit(value: LocatedValue, complaints: Complaints): RuleLimit | undefined {
  if (value.kind === 'scalar' && typeof value.value === 'string' && parseRate(value.value) !== undefined) {
    const message = '`limit` must be a map.'
    return complain(complaints, 'ERR_POLICY_SHAPE', value.at, message, `{ requests: ${value.value} }`)
  }
  const map = asMap(value, '`limit`', complaints)
  if (map === undefined) return undefined
  const entries = entriesOf(map, '`limit`', ['requests', 'burst', 'per'], complaints)
  const rate = entries.get('requests')
  if (rate === undefined) return complain(complaints, 'ERR_POLICY_EMPTY', map.at, '`limit` needs `requests`, as in `requests: 100/s`.')
  const requests = readRate(rate.value, complaints)
  const burst = readBurst(entries.get('burst'), requests, complaints)
  const per = readGroup(entries.get('per'), complaints)
  return requests === undefined || burst === undefined || per === undefined ? undefined : { requests, burst, per }
}

function readRate(value: LocatedValue, complaints: Complaints): string | undefined {
  const written = value.kind === 'scalar' ? value.value : undefined
  if (typeof written === 'string' && parseRate(written) !== undefined) return written
  const meant = meantRate(String(written))
  const message = `\`requests\` is a whole number from 1 to 1,000,000 a second, minute or hour (\`100/s\`, \`100/m\`, \`100/h\`), and here is ${inWords(value)}.`
  return complain(complaints, 'ERR_POLICY_VALUE', value.at, message, meant)
}

/** `100`, `100 / sec` and `100 per minute` are guessed. */
function meantRate(text: string): string | undefined {
  const match = /^(\d+)(?:(?: *\/ *| per )([smh])[a-z]*)?$/i.exec(text.trim())
  const rate = match === null ? '' : `${match[1]}/${match[2]?.toLowerCase() ?? 's'}`
  return parseRate(rate) === undefined ? undefined : rate
}

function readBurst(entry: LocatedEntry | undefined, requests: string | undefined, complaints: Complaints): number | undefined {
  if (entry === undefined) {
    const rate = requests === undefined ? undefined : parseRate(requests)
    return rate === undefined ? undefined : defaultBurst(rate)
  }
  const { value } = entry
  const burst = value.kind === 'scalar' ? value.value : undefined
  if (typeof burst === 'number' && Number.isInteger(burst) && burst >= 1 && burst <= LARGEST_BURST) return burst
  const message = `\`burst\` is a whole number of requests from 1 to 1,000,000, and here is ${inWords(value)}.`
  const meant = typeof burst === 'string' && /^[1-9]\d{0,5}(\/[smh])?$/.test(burst) ? String(Number.parseInt(burst, 10)) : undefined
  return complain(complaints, 'ERR_POLICY_VALUE', value.at, message, meant)
}

function readGroup(entry: LocatedEntry | undefined, complaints: Complaints): LimitGroup | undefined {
  if (entry === undefined) return 'peer'
  const word = asString(entry.value, '`per`', complaints)
  const group = GROUPS.find((name) => name === word)
  if (group !== undefined || word === undefined) return group
  return unknownWord(complaints, entry.value.at, `Requests cannot be counted per \`${word}\``, word, GROUPS)
}
