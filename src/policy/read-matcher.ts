/** Reads the right-hand side of criteria: string matchers, list matchers, and the literals in them. */
import type { LocatedEntry, LocatedValue, Location } from '#base/located'
import { REASONS } from '#base/reasons'
import { normaliseHost } from '#http/authority'
import { canonicalLiteral } from '#http/canonical-path'
import { isTrustDomain, parseSpiffeId } from '#identity/spiffe-id'
import { asList, asString, complain, type Complaints, entriesOf, inWords } from './complaints.ts'
import type { ListMatcher, ListTest, StringMatcher, StringTest } from './document.ts'
import { literalSample, patternFault } from './path-pattern.ts'

/** What kind of text is compared: literals of ids, paths and hosts are checked for the one form that requests have. */
export type TextKind = 'text' | 'id' | 'domain' | 'path' | 'host'

/** More nesting of `not` than anyone can read. */
const MAX_NOT_DEPTH = 8

const STRING_TESTS = ['is', 'not', 'in', 'not_in', 'starts_with', 'ends_with', 'contains']

/** @param what the criterion in words. @param extra keys that the caller reads itself, such as `present` */
export function readStringMatcher(
  value: LocatedValue,
  what: string,
  kind: TextKind,
  complaints: Complaints,
  extra: readonly string[] = [],
  depth = 0,
): StringMatcher | undefined {
  if (value.kind === 'list') {
    const message = `${what} takes one string or a matcher; write \`{ in: […] }\` for any of several.`
    return complain(complaints, 'ERR_POLICY_SHAPE', value.at, message)
  }
  if (value.kind === 'scalar') {
    const text = readLiteral(value, what, 'is', kind, complaints)
    return text === undefined ? undefined : [{ test: 'is', text }]
  }
  if (value.entries.length === 0) return complain(complaints, 'ERR_POLICY_EMPTY', value.at, `The matcher of ${what} is empty.`)
  if (depth > MAX_NOT_DEPTH) return complain(complaints, 'ERR_POLICY_SHAPE', value.at, `\`not\` nests deeper than ${MAX_NOT_DEPTH} levels.`)
  const known = [...STRING_TESTS, ...(kind === 'path' ? ['matches'] : []), ...extra]
  const entries = [...entriesOf(value, what, known, complaints).values()].filter(({ key }) => !extra.includes(key))
  const tests = entries.map((entry) => readStringTest(entry, what, kind, complaints, depth))
  return tests.includes(undefined) ? undefined : tests.filter((test) => test !== undefined)
}

function readStringTest(entry: LocatedEntry, what: string, kind: TextKind, complaints: Complaints, depth: number): StringTest | undefined {
  const { key, value } = entry
  switch (key) {
    case 'in':
    case 'not_in': {
      const list = asList(value, `\`${key}\` of ${what}`, complaints)
      const texts = list?.items.map((item) => readLiteral(item, `An entry of \`${key}\``, 'is', kind, complaints))
      if (texts === undefined || texts.includes(undefined)) return undefined
      return { test: key, texts: texts.filter((text) => text !== undefined) }
    }
    case 'not': {
      const matcher = readStringMatcher(value, `\`not\` of ${what}`, kind, complaints, [], depth + 1)
      return matcher === undefined ? undefined : { test: 'not', matcher }
    }
    case 'matches': {
      const pattern = asString(value, '`matches`', complaints)
      return pattern === undefined ? undefined : readPattern(pattern, value.at, complaints)
    }
    default: {
      const test = key === 'starts_with' || key === 'ends_with' || key === 'contains' ? key : 'is'
      const text = readLiteral(value, `\`${key}\` of ${what}`, test, kind, complaints)
      return text === undefined ? undefined : { test, text }
    }
  }
}

type Literal = 'is' | 'starts_with' | 'ends_with' | 'contains'

function readLiteral(value: LocatedValue, what: string, test: Literal, kind: TextKind, complaints: Complaints): string | undefined {
  const text = asString(value, what, complaints)
  if (text === undefined) return undefined
  if (text === '' && test !== 'is') {
    return complain(complaints, 'ERR_POLICY_EMPTY', value.at, `\`${test}\` of an empty string is true of every string.`)
  }
  switch (kind) {
    case 'path':
      return checkPath(text, value.at, test, complaints)
    case 'host':
      return checkHost(text, value.at, test, complaints)
    case 'id':
      return test === 'is' ? checkId(text, value.at, complaints) : text
    case 'domain':
      return test === 'is' ? checkDomain(text, value.at, complaints) : text
    default:
      return text
  }
}

function checkId(text: string, at: Location, complaints: Complaints): string | undefined {
  const id = parseSpiffeId(text)
  if (id.ok) return text
  const lower = text.replace(/^[^/]+:\/\/[^/]*/, (start) => start.toLowerCase()).replace(/\/$/, '')
  const suggestion = parseSpiffeId(lower).ok ? lower : undefined
  return complain(complaints, 'ERR_POLICY_VALUE', at, `No peer can have the id \`${text}\`: ${id.detail}.`, suggestion)
}

function checkDomain(text: string, at: Location, complaints: Complaints): string | undefined {
  if (isTrustDomain(text)) return text
  const bare = text
    .toLowerCase()
    .replace(/^spiffe:\/\//, '')
    .replace(/\/.*$/, '')
  const message = `No trust domain has the name \`${text}\`: names are lower-case letters, digits, \`.\`, \`-\` and \`_\`.`
  return complain(complaints, 'ERR_POLICY_VALUE', at, message, isTrustDomain(bare) ? bare : undefined)
}

/** A path that no request can have would make a deny rule a dead letter, silently. */
function checkPath(text: string, at: Location, test: Literal, complaints: Complaints): string | undefined {
  const anchored = test === 'is' || test === 'starts_with'
  if (anchored && !text.startsWith('/')) {
    if (test === 'is' && text === '*') return text
    return complain(complaints, 'ERR_POLICY_PATH', at, `A path begins with \`/\`, and here is \`${text}\`.`, `/${text}`)
  }
  const verdict = canonicalLiteral(text, test === 'is')
  if (verdict.ok) return text
  const why = verdict.refusal === undefined ? '' : ` ${REASONS[verdict.refusal.reason].what}`
  return complain(complaints, 'ERR_POLICY_PATH', at, `No canonical path can match \`${text}\`.${why}`, verdict.suggestion)
}

function readPattern(pattern: string, at: Location, complaints: Complaints): StringTest | undefined {
  const fault = patternFault(pattern)
  if (fault !== undefined) {
    const suggestion = /[*]/.test(pattern) ? pattern.replace(/\/(?:\*\*|\{\*\}|\*)$/, '/{**}') : undefined
    const better = suggestion !== pattern && suggestion !== undefined && patternFault(suggestion) === undefined ? suggestion : undefined
    return complain(complaints, 'ERR_POLICY_VALUE', at, `The pattern \`${pattern}\` is wrong: ${fault}.`, better)
  }
  const verdict = canonicalLiteral(literalSample(pattern), true)
  if (verdict.ok) return { test: 'matches', pattern }
  const why = verdict.refusal === undefined ? '' : ` ${REASONS[verdict.refusal.reason].what}`
  return complain(complaints, 'ERR_POLICY_PATH', at, `No canonical path can match the pattern \`${pattern}\`.${why}`)
}

function checkHost(text: string, at: Location, test: Literal, complaints: Complaints): string | undefined {
  const normal = test === 'is' ? normaliseHost(text) : text.toLowerCase()
  if (normal === text) return text
  const message = `No host can match \`${text}\`: hosts are compared in lower case, without port and without final dot.`
  return complain(complaints, 'ERR_POLICY_VALUE', at, message, normal)
}

/** A scalar is `has`. */
export function readListMatcher(value: LocatedValue, what: string, complaints: Complaints): ListMatcher | undefined {
  if (value.kind === 'list') {
    const message = `${what} takes one value or a matcher; write one criterion for each value, under \`or\` for any and \`and\` for all.`
    return complain(complaints, 'ERR_POLICY_SHAPE', value.at, message)
  }
  if (value.kind === 'scalar') {
    const scalar = readElement(value, what, complaints)
    return scalar === undefined ? undefined : [{ test: 'has', value: scalar }]
  }
  if (value.entries.length === 0) return complain(complaints, 'ERR_POLICY_EMPTY', value.at, `The matcher of ${what} is empty.`)
  const entries = entriesOf(value, what, ['has', 'is', 'exclude'], complaints)
  const tests: ListTest[] = []
  for (const entry of entries.values()) {
    const scalar = readElement(entry.value, `\`${entry.key}\` of ${what}`, complaints)
    if (scalar !== undefined) tests.push({ test: entry.key as ListTest['test'], value: scalar })
  }
  return tests.length === value.entries.length ? tests : undefined
}

/** Numbers beyond 2^53 are refused: two of them could be equal here and different in the token. */
function readElement(value: LocatedValue, what: string, complaints: Complaints): string | number | boolean | undefined {
  if (value.kind !== 'scalar' || value.value === null) {
    return complain(complaints, 'ERR_POLICY_VALUE', value.at, `${what} must be a string, number or boolean, and here is ${inWords(value)}.`)
  }
  if (typeof value.value === 'string') return asString(value, what, complaints)
  if (typeof value.value === 'number' && (!Number.isFinite(value.value) || Math.abs(value.value) > Number.MAX_SAFE_INTEGER)) {
    return complain(complaints, 'ERR_POLICY_VALUE', value.at, `${what} is a number that cannot be compared exactly.`)
  }
  return value.value
}
