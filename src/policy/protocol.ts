/** Refuses documents that a listener they would govern could only weaken or widen: HTTP criteria on opaque connections, literals no path can equal. */
import type { Problem } from '#base/located'
import { type Complaints, complain } from './complaints.ts'
import { appliesTo, type Criterion, locationIn, type PolicyDocument, type PolicyScope, type StringMatcher } from './document.ts'
import { isAboutHttp } from './subjects.ts'

/** One listener, as far as policies care. */
export interface GovernedListener extends PolicyScope {
  /** For messages: its address as configured. */
  readonly name: string
  readonly protocol: 'http1' | 'http2' | 'both' | 'tcp'
  /** Decisions are made on the lower-cased path. */
  readonly ignoreCase: boolean
}

/** Problems of a document on the listeners it applies to. Call at load; an error refuses the document. */
export function protocolProblems(document: PolicyDocument, listeners: readonly GovernedListener[]): Problem[] {
  const complaints: Complaints = { problems: [] }
  const governed = listeners.filter((listener) => appliesTo(document, listener))
  const opaque = governed.find(({ protocol }) => protocol === 'tcp')
  const caseless = governed.find(({ protocol, ignoreCase }) => ignoreCase && protocol !== 'tcp')
  if (opaque === undefined && caseless === undefined) return complaints.problems
  for (const criterion of document.rules.flatMap(({ criteria }) => criteria)) {
    if (opaque !== undefined && isAboutHttp(criterion)) {
      const message = `\`${criterion.name}\` cannot be decided on the tcp listener ${opaque.name}, which this policy would govern: limit it with \`target.ports\`.`
      complain(complaints, 'ERR_POLICY_PROTOCOL', locationIn(document, criterion), message)
    }
    if (caseless !== undefined) checkCase(criterion, document, caseless, complaints)
  }
  return complaints.problems
}

/** Escapes stay in upper case in the lower-cased path, and names of variables in patterns are nobody's path. */
function lowerCased(path: string): string {
  const parts = path.split(/(\{[^}/]*\})/)
  return parts
    .map((part, index) => (index % 2 === 1 ? part : part.toLowerCase().replace(/%[0-9a-f]{2}/g, (escape) => escape.toUpperCase())))
    .join('')
}

function checkCase(criterion: Criterion, document: PolicyDocument, listener: GovernedListener, complaints: Complaints): void {
  if (criterion.kind !== 'string' || criterion.fact !== 'http_path') return
  for (const text of literalsOf(criterion.matcher)) {
    const lower = lowerCased(text)
    if (lower === text) continue
    const message = `The listener ${listener.name} ignores case, so no path there can match \`${text}\`.`
    complain(complaints, 'ERR_POLICY_PATH', locationIn(document, criterion), message, lower)
  }
}

/** Every literal and pattern of a matcher. */
export function literalsOf(matcher: StringMatcher): string[] {
  return matcher.flatMap((test) => {
    switch (test.test) {
      case 'in':
      case 'not_in':
        return [...test.texts]
      case 'not':
        return literalsOf(test.matcher)
      case 'matches':
        return [test.pattern]
      default:
        return [test.text]
    }
  })
}
