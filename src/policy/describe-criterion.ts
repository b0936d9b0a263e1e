/** What a criterion asks, and how nearly a fact met it, in words for people. */
import { editDistance } from '#base/suggest'
import type { CertificateMatcher, Criterion, ListMatcher, StringMatcher, StringTest } from './document.ts'
import { WEEKDAYS } from './evaluate.ts'

/** Names of a list that are shown before it is cut. */
const SHOWN = 5

/** `in [GET, HEAD]`, `starts_with /a/ and not starts_with /a/b/`. */
export function describeCriterion(criterion: Criterion): string {
  switch (criterion.kind) {
    case 'flag':
      return 'true'
    case 'string':
      return describeMatcher(criterion.matcher)
    case 'list':
    case 'claim':
      return describeList(criterion.matcher)
    case 'values': {
      const parts = [
        ...(criterion.present === undefined ? [] : [criterion.present ? 'present' : 'absent']),
        ...(criterion.matcher.length === 0 ? [] : [describeMatcher(criterion.matcher)]),
      ]
      return parts.join(' and ')
    }
    case 'source_ip':
      return `in ${describeTexts(criterion.networks)}`
    case 'port':
      return `in ${describeTexts(criterion.ports.map(String))}`
    case 'client_certificate':
      return describeCertificate(criterion.certificate)
    case 'date':
      return describeSpan(criterion.after, criterion.before, (instant) => new Date(instant).toISOString())
    case 'day_of_week':
      return `in ${describeTexts(
        criterion.days.map((day) => WEEKDAYS[day] ?? ''),
        7,
      )} (${criterion.timezone})`
    default: {
      const { after, before, timezone } = criterion
      return `${describeSpan(after === 0 ? undefined : after, before === 86_400 ? undefined : before, clock)} (${timezone})`
    }
  }
}

function describeSpan(after: number | undefined, before: number | undefined, text: (at: number) => string): string {
  const parts = [after === undefined ? [] : [`after ${text(after)}`], before === undefined ? [] : [`before ${text(before)}`]].flat()
  return parts.length === 0 ? 'any time' : parts.join(' and ')
}

function clock(second: number): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${two(Math.floor(second / 3600))}:${two(Math.floor(second / 60) % 60)}:${two(second % 60)}`
}

function describeMatcher(matcher: StringMatcher): string {
  return matcher.map(describeTest).join(' and ')
}

function describeTest(test: StringTest): string {
  switch (test.test) {
    case 'in':
    case 'not_in':
      return `${test.test} ${describeTexts(test.texts)}`
    case 'not': {
      const [first, second] = test.matcher
      const single = first !== undefined && second === undefined
      return single ? (first.test === 'is' ? `not ${first.text}` : `not ${describeTest(first)}`) : `not (${describeMatcher(test.matcher)})`
    }
    case 'matches':
      return `matches ${test.pattern}`
    default:
      return `${test.test} ${test.text === '' ? '""' : test.text}`
  }
}

function describeTexts(texts: readonly string[], shown = SHOWN): string {
  const rest = texts.length - shown
  return `[${texts.slice(0, shown).join(', ')}${rest > 0 ? `, and ${rest} more` : ''}]`
}

function describeList(matcher: ListMatcher): string {
  return matcher.map(({ test, value }) => `${test} ${JSON.stringify(value)}`).join(' and ')
}

function describeCertificate({ fingerprints, spkiHashes, sanUri, sanDns, sanEmail }: CertificateMatcher): string {
  const parts = [
    ...(fingerprints === undefined ? [] : [`fingerprint in ${describeTexts(fingerprints)}`]),
    ...(spkiHashes === undefined ? [] : [`spki_hash in ${describeTexts(spkiHashes)}`]),
    ...(sanUri === undefined ? [] : [`san_uri ${describeMatcher(sanUri)}`]),
    ...(sanDns === undefined ? [] : [`san_dns ${describeMatcher(sanDns)}`]),
    ...(sanEmail === undefined ? [] : [`san_email ${describeMatcher(sanEmail)}`]),
  ]
  return parts.length === 0 ? 'any certificate' : parts.join(' and ')
}

/** Why a fact that failed a criterion may have been meant to pass it; undefined if it is far off. */
export function nearMiss(criterion: Criterion, actual: string | undefined): string | undefined {
  if (actual === undefined) return absenceOf(criterion)
  const texts = criterion.kind === 'string' || criterion.kind === 'values' ? expectedTexts(criterion.matcher) : []
  for (const text of texts) {
    if (text.toLowerCase() === actual.toLowerCase()) return `differs from \`${text}\` only in case`
    if (text === `${actual}/` || actual === `${text}/`) return `differs from \`${text}\` only by the slash at its end`
    if (text.length >= 4 && editDistance(text, actual, 2) <= 2) return `is nearly \`${text}\``
  }
  return undefined
}

function expectedTexts(matcher: StringMatcher): readonly string[] {
  return matcher.flatMap((test) => (test.test === 'is' ? [test.text] : test.test === 'in' ? test.texts : []))
}

function absenceOf({ kind, name }: Criterion): string | undefined {
  if (kind === 'claim' || kind === 'list' || name.startsWith('token') || ['authenticated_user', 'user', 'email', 'domain'].includes(name)) {
    return 'needs a verified token that has it'
  }
  if (name === 'namespace' || name === 'service_account') return 'needs a peer whose path is /ns/<namespace>/sa/<service account>'
  return name.startsWith('grpc_') ? 'needs a gRPC request' : undefined
}
