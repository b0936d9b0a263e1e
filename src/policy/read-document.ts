/** Reads a policy document, of kind Policy or bare PPL, and complains about everything it does not know. */
import { entryOf, type LocatedEntry, type LocatedMap, type LocatedValue, plainValue, type Problem } from '#base/located'
import { asList, asMap, asString, complain, type Complaints, entriesOf, inWords, unknownWord } from './complaints.ts'
import type { PolicyDocument, PolicyMode, PolicyTarget, PolicyTest } from './document.ts'
import { readPortNumber } from './read-criterion.ts'
import { readLimit } from './read-limit.ts'
import { readRules, unknownShape } from './read-rules.ts'
import { readRequest } from './request.ts'

export interface ReadPolicyOptions {
  /** Name of a document that does not say its own; usually the file's name without extension. */
  readonly defaultName: string
}

/** `document` is undefined exactly where a problem is an error. */
export interface PolicyReading {
  readonly document: PolicyDocument | undefined
  readonly problems: Problem[]
}

/** Never throws. */
export function readPolicyDocument(value: LocatedValue, options: ReadPolicyOptions): PolicyReading {
  const complaints: Complaints = { problems: [] }
  const document = isResource(value) ? readResource(value, options, complaints) : readBare(value, options, complaints)
  const failed = complaints.problems.some(({ severity }) => severity === 'error')
  return { document: failed ? undefined : document, problems: complaints.problems }
}

function isResource(value: LocatedValue): value is LocatedMap {
  return value.kind === 'map' && ['apiVersion', 'kind', 'metadata', 'spec'].some((key) => entryOf(value, key) !== undefined)
}

function readBare(value: LocatedValue, { defaultName }: ReadPolicyOptions, complaints: Complaints): PolicyDocument | undefined {
  if (value.kind === 'map' && !value.entries.some(({ key }) => ['name', 'allow', 'deny', 'limit'].includes(key)))
    return unknownShape(value, complaints)
  const rules = readRules(value, 'A policy', complaints)
  return { ...UNLIMITED, name: defaultName, file: value.at.file, rules }
}

const UNLIMITED = { namespace: undefined, mode: 'enforce', target: undefined, selector: undefined, tests: [] } as const

/** `status` is what a cluster adds. */
const RESOURCE_KEYS = ['apiVersion', 'kind', 'metadata', 'spec', 'tests', 'status']

/** All of Kubernetes' ObjectMeta, so that a policy printed by a cluster is one. */
const METADATA_KEYS = [
  'name',
  'namespace',
  'labels',
  'annotations',
  'generateName',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'ownerReferences',
  'finalizers',
  'managedFields',
  'selfLink',
]

function readResource(map: LocatedMap, { defaultName }: ReadPolicyOptions, complaints: Complaints): PolicyDocument | undefined {
  const entries = entriesOf(map, 'a policy', RESOURCE_KEYS, complaints)
  readWord(entries.get('apiVersion'), 'apiVersion', 'postern.dev/v1', map, complaints)
  readWord(entries.get('kind'), 'kind', 'Policy', map, complaints)
  const { name, namespace } = readMetadata(entries.get('metadata'), complaints)
  const tests = readTests(entries.get('tests'), complaints)
  const specEntry = entries.get('spec')
  if (specEntry === undefined) return complain(complaints, 'ERR_POLICY_EMPTY', map.at, 'The policy has no `spec`.')
  const spec = asMap(specEntry.value, '`spec`', complaints)
  if (spec === undefined) return undefined
  const parts = entriesOf(spec, '`spec`', ['target', 'selector', 'mode', 'limit', 'rules'], complaints)
  const rules = parts.get('rules')
  if (rules === undefined) return complain(complaints, 'ERR_POLICY_EMPTY', specEntry.keyAt, '`spec` needs `rules`.')
  const own = name ?? defaultName
  const limitEntry = parts.get('limit')
  const limit = limitEntry === undefined ? undefined : readLimit(limitEntry.value, complaints)
  const read = readRules(rules.value, '`rules`', complaints, limit)
  if (limitEntry !== undefined && read.length > 0 && !read.some(({ action }) => action === 'allow')) {
    complain(complaints, 'ERR_POLICY_SHAPE', limitEntry.keyAt, 'The `limit` of a policy is for its allow rules, and there is none.')
  }
  return {
    name: namespace === undefined ? own : `${namespace}/${own}`,
    namespace,
    file: map.at.file,
    mode: readMode(parts.get('mode'), complaints),
    target: readTarget(parts.get('target'), complaints),
    selector: readSelector(parts.get('selector'), complaints),
    rules: read,
    tests,
  }
}

function readWord(entry: LocatedEntry | undefined, key: string, word: string, map: LocatedMap, complaints: Complaints): void {
  if (entry === undefined)
    complain(complaints, 'ERR_POLICY_SHAPE', map.at, `The policy has no \`${key}\`; it must be \`${word}\`.`, `${key}: ${word}`)
  else if (entry.value.kind !== 'scalar' || entry.value.value !== word) {
    complain(complaints, 'ERR_POLICY_VALUE', entry.value.at, `\`${key}\` must be \`${word}\`, and here is ${inWords(entry.value)}.`, word)
  }
}

interface Metadata {
  readonly name: string | undefined
  readonly namespace: string | undefined
}

function readMetadata(entry: LocatedEntry | undefined, complaints: Complaints): Metadata {
  const map = entry === undefined ? undefined : asMap(entry.value, '`metadata`', complaints)
  if (map === undefined) return { name: undefined, namespace: undefined }
  const entries = entriesOf(map, '`metadata`', METADATA_KEYS, complaints)
  return { name: readObjectName(entries.get('name'), complaints), namespace: readObjectName(entries.get('namespace'), complaints) }
}

/** A DNS subdomain, as Kubernetes demands (RFC 1123 §2.1): no `/` that would make `a/b` ambiguous in records. */
function readObjectName(entry: LocatedEntry | undefined, complaints: Complaints): string | undefined {
  if (entry === undefined) return undefined
  const name = asString(entry.value, `\`${entry.key}\``, complaints)
  if (name === undefined || (name.length <= 253 && /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/.test(name))) return name
  const message = `\`${entry.key}\` must be lower-case letters, digits, \`-\` and \`.\`, and here is ${inWords(entry.value)}.`
  return complain(complaints, 'ERR_POLICY_VALUE', entry.value.at, message)
}

function readMode(entry: LocatedEntry | undefined, complaints: Complaints): PolicyMode {
  if (entry === undefined) return 'enforce'
  const mode = asString(entry.value, '`mode`', complaints)
  if (mode === 'enforce' || mode === 'shadow') return mode
  if (mode !== undefined) unknownWord(complaints, entry.value.at, `There is no mode \`${mode}\``, mode, ['enforce', 'shadow'])
  return 'enforce'
}

function readTarget(entry: LocatedEntry | undefined, complaints: Complaints): PolicyTarget | undefined {
  const map = entry === undefined ? undefined : asMap(entry.value, '`target`', complaints)
  if (map === undefined) return undefined
  if (map.entries.length === 0) return complain(complaints, 'ERR_POLICY_EMPTY', map.at, '`target` needs `service`, `ports` or both.')
  const entries = entriesOf(map, '`target`', ['service', 'ports'], complaints)
  const [service, ports] = [entries.get('service'), entries.get('ports')]
  const list = ports === undefined ? undefined : asList(ports.value, '`ports`', complaints)
  const numbers = list?.items.map((item) => readPortNumber(item, 'A port', complaints))
  return { service: readObjectName(service, complaints), ports: numbers?.filter((port) => port !== undefined) }
}

/** Labels as they are, or under `matchLabels` as Kubernetes writes them. */
function readSelector(entry: LocatedEntry | undefined, complaints: Complaints): Record<string, string> | undefined {
  const map = entry === undefined ? undefined : asMap(entry.value, '`selector`', complaints)
  if (map === undefined) return undefined
  const nested = map.entries.length === 1 ? entryOf(map, 'matchLabels') : undefined
  const labels = nested === undefined ? map : asMap(nested.value, '`matchLabels`', complaints)
  if (labels === undefined) return undefined
  if (labels.entries.length === 0) return complain(complaints, 'ERR_POLICY_EMPTY', labels.at, '`selector` must have a label.')
  const selector = new Map<string, string>()
  for (const { key, value, keyAt } of labels.entries) {
    if (key === 'matchExpressions')
      complain(complaints, 'ERR_POLICY_UNKNOWN', keyAt, '`matchExpressions` is not taken; write labels and their values.')
    const label = asString(value, `Label \`${key}\``, complaints)
    if (label !== undefined) selector.set(key, label)
  }
  return Object.fromEntries(selector)
}

function readTests(entry: LocatedEntry | undefined, complaints: Complaints): PolicyTest[] {
  const list = entry === undefined ? undefined : asList(entry.value, '`tests`', complaints)
  return (list?.items ?? []).flatMap((item) => readTest(item, complaints) ?? [])
}

function readTest(item: LocatedValue, complaints: Complaints): PolicyTest | undefined {
  const map = asMap(item, 'A test', complaints)
  if (map === undefined) return undefined
  const entries = entriesOf(map, 'a test', ['name', 'request', 'expect', 'because'], complaints)
  const text = (key: string): string | undefined => {
    const found = entries.get(key)
    return found === undefined ? undefined : asString(found.value, `\`${key}\``, complaints)
  }
  const [name, because, expect] = [text('name'), text('because'), text('expect')]
  const request = entries.get('request')
  const plain = request === undefined ? undefined : asMap(request.value, '`request`', complaints)
  if (request === undefined) complain(complaints, 'ERR_POLICY_EMPTY', map.at, 'A test needs a `request`.')
  if (expect !== 'allow' && expect !== 'deny') {
    const at = entries.get('expect')?.value.at ?? map.at
    return complain(complaints, 'ERR_POLICY_VALUE', at, 'A test needs `expect: allow` or `expect: deny`.')
  }
  if (plain === undefined) return undefined
  const described = plainValue(plain) as Record<string, unknown>
  for (const fault of readRequest(described, 0).faults) complain(complaints, 'ERR_POLICY_VALUE', plain.at, fault)
  return { name, request: described, expect, because, line: map.at.line, column: map.at.column }
}
