/** Patterns of `matches`: whole segments, `{name}` for one, `{**}` last for the rest. */

/** What is wrong with a pattern, in words; undefined if nothing is. Literal segments are not checked for canonical form. */
export function patternFault(pattern: string): string | undefined {
  if (!pattern.startsWith('/')) return 'a pattern begins with `/`'
  const segments = pattern.slice(1).split('/')
  for (const [index, segment] of segments.entries()) {
    if (segment === '{**}') {
      if (index < segments.length - 1) return '`{**}` can only stand last'
    } else if (segment === '{*}' || segment === '*' || segment === '**') {
      return `\`${segment}\` is not taken: write \`{name}\` for one segment, \`{**}\` for the rest`
    } else if (/[{}]/.test(segment) && !isVariable(segment)) {
      return `\`${segment}\` is neither a literal nor \`{name}\`: parts of a segment cannot be patterns, and names are letters, digits, \`_\` and \`-\``
    }
  }
  return undefined
}

/** `{name}` */
function isVariable(segment: string): boolean {
  return /^\{[A-Za-z_][\w-]*\}$/.test(segment)
}

/** The pattern's literal beginning: every path it takes begins so. */
export function literalPrefix(pattern: string): string {
  const brace = pattern.indexOf('{')
  return brace === -1 ? pattern : pattern.slice(0, brace)
}

/** The pattern with something literal in place of its variables, to check the literals by. */
export function literalSample(pattern: string): string {
  return pattern.replaceAll(/\{[^}/]*\}/g, 'x')
}

/** A test for paths, without allocation: one walk over pattern and path. */
export function compilePattern(pattern: string): (path: string) => boolean {
  const segments = pattern.slice(1).split('/')
  const open = segments.at(-1) === '{**}'
  if (open) segments.pop()
  /** Undefined for a variable. */
  const literals = segments.map((segment) => (isVariable(segment) ? undefined : segment))
  return (path) => {
    if (path.charCodeAt(0) !== 0x2f) return false
    let start = 1
    for (let index = 0; index < literals.length; index++) {
      const slash = path.indexOf('/', start)
      const end = slash === -1 ? path.length : slash
      const literal = literals[index]
      if (literal === undefined ? end === start : end - start !== literal.length || !path.startsWith(literal, start)) return false
      // The slash that follows a segment belongs to the next one; the last must have none, unless more may follow.
      const last = index === literals.length - 1
      if (last && !open) return slash === -1
      if (slash === -1) return false
      start = slash + 1
    }
    return true
  }
}
