/**
 * SPIFFE IDs with gaps that attested facts fill: `spiffe://{trustDomain}/ns/{namespace}/sa/{serviceAccount}`. A gap fills a whole segment
 * or one part of it, never more than one: two different sets of facts can then never make the same ID.
 */
import { ok, refusal, type Result } from '#base/result'
import { nearest } from '#base/suggest'
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts'

/** Made only by `parseIdTemplate`. */
export interface IdTemplate {
  readonly text: string
  readonly trustDomain: string
  /** Of the path, in order: what stands around the gap, and the name of the gap; `''` where the segment is fixed. */
  readonly segments: readonly { readonly before: string; readonly gap: string; readonly after: string }[]
  /** The gaps of the path; empty if every fact gives the same ID. */
  readonly gaps: readonly string[]
}

export interface GapNames {
  /** Gaps that may be named. */
  readonly names: readonly string[]
  /** With it, what follows is free: `claims.` takes `{claims.sub}` and `{claims.a.b}`. */
  readonly prefix?: string
}

/** Why a template is no good: the sentence, and what was probably meant. */
export interface TemplateFault {
  readonly ok: false
  readonly fault: string
  readonly suggestion?: string
}

/** Below it are the identities of Postern's own parts, such as the authority's. */
export const RESERVED_SEGMENT = 'postern'

const TRUST_DOMAIN_GAP = '{trustDomain}'
const LONGEST_FACT = 253

/** @param trustDomain what `{trustDomain}` stands for, and the only trust domain that may be written out */
export function parseIdTemplate(
  text: string,
  trustDomain: string,
  known: GapNames,
): { readonly ok: true; readonly value: IdTemplate } | TemplateFault {
  const written = `spiffe://${TRUST_DOMAIN_GAP}`
  const [scheme, path] = text.startsWith(written) ? [written, text.slice(written.length)] : splitLiteral(text)
  if (scheme !== written && scheme !== `spiffe://${trustDomain}`) {
    return {
      ok: false,
      fault: `it must begin with \`${written}/\` or \`spiffe://${trustDomain}/\``,
      suggestion: `${written}${path || '/…'}`,
    }
  }
  if (!path.startsWith('/')) return { ok: false, fault: 'the ID of a workload has a path after the trust domain' }
  const segments: IdTemplate['segments'][number][] = []
  for (const segment of path.slice(1).split('/')) {
    const [before = '', gap = '', after = '', ...more] = segment.split(/[{}]/)
    if (more.length > 0) {
      return {
        ok: false,
        fault: `\`${segment}\` has more than one gap, so that different facts could make the same ID; give each a segment of its own`,
      }
    }
    const whole = gap === '' ? segment === before : segment === `${before}{${gap}}${after}`
    if (!whole) return { ok: false, fault: `\`${segment}\` has a brace without its partner, or an empty gap` }
    const unknown = gap === '' ? undefined : gapFault(gap, known)
    if (unknown !== undefined) return unknown
    const sample = parseSpiffeId(`spiffe://${trustDomain}/${before}${gap === '' ? '' : 'x'}${after}`)
    if (!sample.ok) return { ok: false, fault: sample.detail }
    segments.push({ before, gap, after })
  }
  if (segments[0]?.gap === '' && segments[0].before === RESERVED_SEGMENT) {
    return { ok: false, fault: `IDs below \`/${RESERVED_SEGMENT}\` are those of Postern itself` }
  }
  const gaps = segments.flatMap(({ gap }) => (gap === '' ? [] : [gap]))
  return { ok: true, value: Object.freeze({ text, trustDomain, segments, gaps }) }
}

function splitLiteral(text: string): readonly [scheme: string, path: string] {
  const slash = text.indexOf('/', 'spiffe://'.length)
  return slash === -1 ? [text, ''] : [text.slice(0, slash), text.slice(slash)]
}

function gapFault(gap: string, { names, prefix }: GapNames): TemplateFault | undefined {
  if (names.includes(gap)) return undefined
  if (prefix !== undefined && gap.startsWith(prefix) && gap.length > prefix.length && !gap.slice(prefix.length).split('.').includes(''))
    return undefined
  const forms = [...names, ...(prefix === undefined ? [] : [`${prefix}NAME`])].map((name) => `\`{${name}}\``)
  const meant = nearest(gap, names) ?? (prefix === undefined ? undefined : `${prefix}${gap.replace(/^.*\./, '')}`)
  const fault = `there is no fact \`${gap}\`, only ${forms.join(' and ')}`
  return { ok: false, fault, ...(meant !== undefined && { suggestion: `{${meant}}` }) }
}

/**
 * The ID that these facts make. A fact that is absent, or that is more than one segment's characters, is refused
 * (`ERR_SPIFFE_ID_MALFORMED`), and so are IDs of Postern's own.
 * @param factOf the fact of a gap's name; undefined where nothing of that name was attested
 */
export function fillIdTemplate(template: IdTemplate, factOf: (gap: string) => string | undefined): Result<SpiffeId> {
  let uri = `spiffe://${template.trustDomain}`
  for (const { before, gap, after } of template.segments) {
    const fact = gap === '' ? '' : factOf(gap)
    if (fact === undefined || (fact === '' && gap !== ''))
      return refusal('ERR_SPIFFE_ID_MALFORMED', `\`${gap}\` of \`${template.text}\` was not attested`)
    if (fact.length > LONGEST_FACT) return refusal('ERR_SPIFFE_ID_MALFORMED', `\`${gap}\` is longer than ${LONGEST_FACT} characters`)
    if (fact.includes('/')) return refusal('ERR_SPIFFE_ID_MALFORMED', `\`${gap}\` holds a slash, and would be more than one segment`)
    uri += `/${before}${fact}${after}`
  }
  const id = parseSpiffeId(uri)
  if (!id.ok) return id
  if (id.value.path === `/${RESERVED_SEGMENT}` || id.value.path.startsWith(`/${RESERVED_SEGMENT}/`)) {
    return refusal('ERR_SPIFFE_ID_MALFORMED', `IDs below \`/${RESERVED_SEGMENT}\` are those of Postern itself`)
  }
  return ok(id.value)
}
