/** Reads YAML (core schema of YAML 1.2.2 §10.3, and JSON with it) into located values: no anchors, aliases, tags, duplicate or non-string keys. */
import {
  Composer,
  CST,
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  type ParsedNode,
  type Scalar,
  type YAMLMap,
} from 'yaml'
import type { LocatedEntry, LocatedValue, Location, Problem } from '#base/located'
import { MAX_DOCUMENT_DEPTH, MAX_DOCUMENT_LENGTH } from './yaml-limits.ts'

/** Complaints about the form of one file; what follows them is mostly their echo. */
const MAX_PROBLEMS = 20

export interface YamlDocuments {
  /** In order, without those that hold nothing but comments and without those that have a problem. */
  readonly documents: LocatedValue[]
  readonly problems: Problem[]
}

interface Reading {
  readonly file: string
  readonly lines: LineCounter
  readonly problems: Problem[]
}

/** Reads every document of a file. `file` is what locations call it. Never throws. */
export function readYamlDocuments(text: string, file: string): YamlDocuments {
  const reading: Reading = { file, lines: new LineCounter(), problems: [] }
  if (text.length > MAX_DOCUMENT_LENGTH) {
    complain(reading, 0, `The file is longer than ${MAX_DOCUMENT_LENGTH / 1024 ** 2} MiB; split it.`)
    return { documents: [], problems: reading.problems }
  }
  const documents: LocatedValue[] = []
  for (const document of compose(text, reading)) {
    const before = reading.problems.length
    const value = readDocument(document, reading)
    if (value !== undefined && reading.problems.length === before) documents.push(value)
  }
  return { documents, problems: reading.problems.slice(0, MAX_PROBLEMS) }
}

/** Only tokens that passed `checkTokens` are composed: the composer recurses, and would overflow the stack on a file of brackets. */
function compose(text: string, reading: Reading): Document.Parsed[] {
  const composer = new Composer({ schema: 'core', version: '1.2', uniqueKeys: false, prettyErrors: false, logLevel: 'silent' })
  const documents: Document.Parsed[] = []
  for (const token of new Parser(reading.lines.addNewLine).parse(text)) {
    if (token.type === 'document' && !checkTokens(token, reading)) continue
    documents.push(...composer.next(token))
  }
  documents.push(...composer.end())
  return documents
}

/** Refuses what would make a document other than it looks (anchors, aliases, tags), and too much depth. */
function checkTokens(document: CST.Document, reading: Reading): boolean {
  const before = reading.problems.length
  const open: { readonly token: CST.Token; readonly depth: number }[] = []
  const properties = (tokens: readonly CST.SourceToken[] | undefined): void => {
    for (const token of tokens ?? []) {
      if (token.type === 'anchor') complain(reading, token.offset, `Anchors (\`${token.source}\`) are not taken here; write the value out.`)
      if (token.type === 'tag')
        complain(reading, token.offset, `Tags (\`${token.source}\`) are not taken here; quote the value if it is a string.`)
    }
  }
  const visit = (token: CST.Token | null | undefined, depth: number): void => {
    if (token !== null && token !== undefined) open.push({ token, depth })
  }
  properties(document.start)
  visit(document.value, 1)
  for (let next = open.pop(); next !== undefined && reading.problems.length < MAX_PROBLEMS; next = open.pop()) {
    const { token, depth } = next
    if (token.type === 'alias') complain(reading, token.offset, `Aliases (\`${token.source}\`) are not taken here; write the value out.`)
    if (!('items' in token)) continue
    if (depth > MAX_DOCUMENT_DEPTH) {
      complain(reading, token.offset, `The document nests deeper than ${MAX_DOCUMENT_DEPTH} levels.`)
      break
    }
    for (const item of token.items) {
      properties(item.start)
      properties(item.sep)
      visit(item.key, depth + 1)
      visit(item.value, depth + 1)
    }
  }
  return reading.problems.length === before
}

function readDocument(document: Document.Parsed, reading: Reading): LocatedValue | undefined {
  for (const error of document.errors) {
    if (reading.problems.length >= MAX_PROBLEMS) return undefined
    complain(reading, error.pos[0], error.message.replace(/\.?$/, '.'))
  }
  if (document.errors.length > 0) return undefined
  const { contents } = document
  if (document.directives.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
    complain(reading, 0, 'Only YAML 1.2 is read; remove the %YAML directive.')
    return undefined
  }
  if (contents === null || (isScalar(contents) && contents.value === null && contents.source === '')) return undefined
  return readNode(contents, reading)
}

function readNode(node: ParsedNode, reading: Reading): LocatedValue {
  const at = locate(reading, node.range[0])
  if (isMap(node)) return { kind: 'map', entries: readEntries(node, reading), at }
  if (isSeq(node)) return { kind: 'list', items: node.items.map((item) => readNode(item, reading)), at }
  return { kind: 'scalar', value: isScalar(node) ? readScalar(node, reading) : null, at }
}

function readEntries(map: YAMLMap.Parsed, reading: Reading): LocatedEntry[] {
  const entries: LocatedEntry[] = []
  const seen = new Map<string, Location>()
  for (const { key, value } of map.items as Pair<Node, ParsedNode | null>[]) {
    const offset = key.range?.[0] ?? map.range[0]
    if (!isScalar(key) || typeof key.value !== 'string') {
      complain(
        reading,
        offset,
        isScalar(key) ? `The key \`${String(key.source ?? key.value)}\` is not a string; quote it.` : 'A key must be a string.',
      )
      continue
    }
    const keyAt = locate(reading, offset)
    const first = seen.get(key.value)
    if (first !== undefined) {
      complain(reading, offset, `The key \`${key.value}\` is here twice; it stands on line ${first.line} already.`)
      continue
    }
    seen.set(key.value, keyAt)
    entries.push({ key: key.value, keyAt, value: value === null ? { kind: 'scalar', value: null, at: keyAt } : readNode(value, reading) })
  }
  return entries
}

/** Numbers that a double cannot hold exactly are refused: a policy that compares them would take one for another. */
function readScalar(node: Scalar, reading: Reading): string | number | boolean | null {
  const { value } = node
  if (typeof value === 'number') {
    const lossy = Number.isInteger(value) && !Number.isSafeInteger(value)
    if (lossy || !Number.isFinite(value))
      complain(reading, node.range?.[0] ?? 0, `The number \`${node.source}\` cannot be held exactly; quote it to make it a string.`)
    return value
  }
  return typeof value === 'string' || typeof value === 'boolean' ? value : null
}

function locate({ file, lines }: Reading, offset: number): Location {
  const { line, col } = lines.linePos(offset)
  return { file, line: Math.max(1, line), column: Math.max(1, col) }
}

function complain(reading: Reading, offset: number, message: string): void {
  reading.problems.push({ severity: 'error', code: 'ERR_CONFIG_SYNTAX', message, at: locate(reading, offset) })
}
