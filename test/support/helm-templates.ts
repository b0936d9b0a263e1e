/**
 * Renders the little of Helm's template language that our chart uses: `if`, `else if`, `else`, `end`, values, and a few pipes. Anything else is an error,
 * so that the chart stays within what is tested where there is no `helm`.
 */
export interface ChartContext {
  readonly values: Readonly<Record<string, unknown>>
  readonly namespace: string
  readonly appVersion: string
  file(name: string): string
}

interface Block {
  /** Whether its text is written now. */
  active: boolean
  /** One of its branches was. */
  taken: boolean
  readonly outer: boolean
}

export function renderTemplate(text: string, context: ChartContext): string {
  const blocks: Block[] = []
  let output = ''
  const isActive = (): boolean => blocks.every(({ active }) => active)
  const parts = text.split(/(\{\{-?[^]*?-?\}\})/)
  for (const [index, part] of parts.entries()) {
    if (index % 2 === 0) {
      const before = parts[index - 1]
      const after = parts[index + 1]
      let piece = before?.endsWith('-}}') === true ? part.trimStart() : part
      if (after?.startsWith('{{-') === true) piece = piece.trimEnd()
      if (isActive()) output += piece
      continue
    }
    const action = part
      .replace(/^\{\{-?/, '')
      .replace(/-?\}\}$/, '')
      .trim()
    if (action.startsWith('/*')) continue
    const [, keyword = '', expression = ''] = /^(if|else if|else|end)?\s*([^]*)$/.exec(action) ?? []
    const block = blocks.at(-1)
    if (keyword === 'if') {
      const holds = isTrue(evaluate(expression, context))
      blocks.push({ active: holds, taken: holds, outer: isActive() })
    } else if (keyword === 'end') blocks.pop()
    else if (keyword === 'else' || keyword === 'else if') {
      if (block === undefined) throw new Error(`no if before ${part}`)
      block.active = !block.taken && (keyword === 'else' || isTrue(evaluate(expression, context)))
      block.taken ||= block.active
    } else if (isActive()) output += String(evaluate(action, context))
  }
  if (blocks.length > 0) throw new Error('an if has no end')
  return output
}

/** As Go's templates see it. */
function isTrue(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null && value !== '' && value !== false && value !== 0
}

function evaluate(expression: string, context: ChartContext): unknown {
  return expression
    .split(/\s\|\s/)
    .map((part) => part.trim())
    .reduce<unknown>((input, call, index) => apply(words(call), index === 0 ? [] : [input], context), undefined)
}

/** Strings, words, and what is in parentheses. */
function words(call: string): string[] {
  return call.match(/"[^"]*"|\([^)]*\)|\S+/g) ?? []
}

function apply([name = '', ...rest]: readonly string[], piped: readonly unknown[], context: ChartContext): unknown {
  const values = [...rest.map((word) => valueOf(word, context)), ...piped]
  const [first, second, third] = values
  switch (name) {
    case 'eq':
      return first === second
    case 'int':
      return Number(first)
    case 'quote':
      return JSON.stringify(first)
    case 'join':
      return (second as readonly unknown[]).map(String).join(String(first))
    case 'toJson':
      return JSON.stringify(first)
    case 'replace':
      return String(third).replaceAll(String(first), String(second))
    case 'indent':
      return String(second).replaceAll(/^/gm, ' '.repeat(Number(first)))
    case '.Files.Get':
      return context.file(String(first))
    default:
      if (values.length > 0) throw new Error(`the function ${name} is not one of those the chart keeps to`)
      return valueOf(name, context)
  }
}

function valueOf(word: string, context: ChartContext): unknown {
  if (word.startsWith('"')) return JSON.parse(word)
  if (word.startsWith('(')) return evaluate(word.slice(1, -1), context)
  if (/^\d+$/.test(word)) return Number(word)
  if (word === '.Release.Namespace') return context.namespace
  if (word === '.Chart.AppVersion') return context.appVersion
  if (!word.startsWith('.Values.')) throw new Error(`${word} is nothing that the chart keeps to`)
  const path = word.slice('.Values.'.length).split('.')
  return path.reduce<unknown>((value, key) => {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) throw new Error(`there is no value ${word}`)
    return (value as Readonly<Record<string, unknown>>)[key]
  }, context.values)
}
