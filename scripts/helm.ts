/**
 * Writes the objects of the Helm chart in `deploy/helm/postern`: `npm run helm`. They are those of `postern install`, made from the same source with
 * marks in place of values; what depends on a choice is made for each choice, and stands in the template under its condition.
 */
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type InstallOptions, meshManifests } from '#controller/install'

const ROOT = join(import.meta.dirname, '..')
export const CHART = join(ROOT, 'deploy', 'helm', 'postern')
/** Beside the templates, and copied into the chart: a chart cannot read what is outside of it. */
export const COPIES = [
  { from: join(ROOT, 'deploy', 'prometheus', 'rules.yaml'), to: join(CHART, 'files', 'rules.yaml') },
  { from: join(ROOT, 'deploy', 'grafana', 'postern.json'), to: join(CHART, 'files', 'dashboard.json') },
] as const

interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> }
}

/** A value of the chart by the mark that stands for it in the objects. In the order in which they are replaced. */
const VALUES: readonly (readonly [mark: RegExp, template: string])[] = [
  [/\[\s*"MARK-EXCLUDE"\s*\]/g, '{{ .Values.excludeNetworks | toJson }}'],
  // As an argument of `postern redirect`.
  [/MARK-EXCLUDE/g, '{{ .Values.excludeNetworks | join "," }}'],
  [/MARK-VERSION/g, '{{ .Chart.AppVersion }}'],
  [/MARK-SIGNER:NAME/g, '{{ .Values.trustBundle | replace "/" ":" }}'],
  [/MARK-SIGNER\/NAME/g, '{{ .Values.trustBundle }}'],
  [/MARK-TRUST-DOMAIN/g, '{{ .Values.trustDomain }}'],
  [/MARK-NAMESPACE/g, '{{ .Release.Namespace }}'],
  [/MARK-IMAGE/g, '{{ .Values.image }}'],
  [/MARK-INTERCEPTION/g, '{{ .Values.interception }}'],
  [/MARK-PASS-THROUGH/g, '{{ .Values.passThrough }}'],
  [/MARK-STORAGE/g, '{{ .Values.ca.storage }}'],
  [/MARK-ROOT/g, '{{ .Values.authority.root | quote }}'],
  [/MARK-INTERMEDIATE/g, '{{ .Values.authority.intermediate | quote }}'],
  [/MARK-KEY/g, '{{ .Values.authority.intermediateKey | quote }}'],
  [/MARK-BUNDLE/g, '{{ .Values.authority.bundle | quote }}'],
  [/replicas: 98765\b/g, 'replicas: {{ .Values.controller.replicas }}'],
]

const MARKED: InstallOptions = {
  trustDomain: 'MARK-TRUST-DOMAIN',
  namespace: 'MARK-NAMESPACE',
  image: 'MARK-IMAGE',
  authority: { root: 'MARK-ROOT', intermediate: 'MARK-INTERMEDIATE', intermediateKey: 'MARK-KEY', bundle: 'MARK-BUNDLE' },
  interception: 'MARK-INTERCEPTION' as 'redirect',
  passThrough: 'MARK-PASS-THROUGH' as 'allow',
  excludeNetworks: [],
  trustBundle: undefined,
  version: 'MARK-VERSION',
  storage: { kind: 'claim', size: 'MARK-STORAGE' },
  replicas: 98_765,
}

interface Case {
  /** Of Helm; the last case has none. */
  readonly when: string | undefined
  readonly options: Partial<InstallOptions>
}

const SIGNER = 'MARK-SIGNER/NAME'
/** Each choice has its cases. */
type Choice = readonly Case[]

const INJECTION: Choice = [
  { when: 'eq .Values.injection "policy"', options: { injection: 'policy' } },
  { when: undefined, options: {} },
]
/** What the API server makes of pods itself depends on it; elsewhere it is a word in a document. */
const INTERCEPTION: Choice = [
  { when: 'eq .Values.interception "loopback"', options: { interception: 'loopback' } },
  { when: undefined, options: { interception: 'redirect' } },
]
const CERTIFICATES: Choice = [
  { when: '.Values.podCertificates', options: { trustBundle: SIGNER, podCertificates: true } },
  { when: '.Values.trustBundle', options: { trustBundle: SIGNER } },
  { when: undefined, options: {} },
]
const CHOICES: readonly Choice[] = [
  INJECTION,
  CERTIFICATES,
  [
    { when: '.Values.excludeNetworks', options: { excludeNetworks: ['MARK-EXCLUDE'] } },
    { when: undefined, options: {} },
  ],
  [
    { when: 'eq .Values.ca.storage "none"', options: { storage: { kind: 'none' } } },
    { when: undefined, options: {} },
  ],
  [
    { when: 'eq (int .Values.controller.replicas) 1', options: { replicas: 1 } },
    { when: undefined, options: {} },
  ],
]

const keyOf = ({ kind, metadata }: Manifest): string => `${kind}/${metadata.name}`
const made = new Map<string, readonly Manifest[]>()
/** The same choices are made for every object. */
function manifestsOf(options: InstallOptions): readonly Manifest[] {
  const key = JSON.stringify(options)
  const found = made.get(key) ?? (meshManifests(options) as unknown as readonly Manifest[])
  made.set(key, found)
  return found
}

const choicesOf = (key: string): readonly Choice[] => (/AdmissionPolicy/.test(key) ? [...CHOICES, INTERCEPTION] : CHOICES)

/** One object as a template; a choice that changes nothing of it does not appear. */
function template(key: string, options: InstallOptions, choices: readonly Choice[]): string {
  const [choice, ...rest] = choices
  if (choice === undefined) {
    const found = manifestsOf(options).find((one) => keyOf(one) === key)
    return found === undefined ? '' : withValues(stringify(kept(found), { lineWidth: 0, aliasDuplicateObjects: false }))
  }
  const cases = choice.map(({ when, options: chosen }) => ({ when, text: template(key, { ...options, ...chosen }, rest) }))
  // The one replica is no other text than that of many.
  const texts = new Set(cases.map(({ text }) => text.replace('replicas: 1\n', 'replicas: {{ .Values.controller.replicas }}\n')))
  const last = cases.at(-1)?.text ?? ''
  if (texts.size === 1) return last
  return conditional(cases)
}

interface CaseText {
  readonly when: string | undefined
  readonly text: string
}

/** Lines that are the same in all cases stand once, where that can be told line by line. */
function conditional(cases: readonly CaseText[]): string {
  const texts = cases.map(({ text }) => text.split('\n').slice(0, -1))
  const length = texts[0]?.length ?? 0
  if (texts.some((lines) => lines.length !== length)) return under(cases)
  let output = ''
  for (let from = 0; from < length;) {
    const isShared = (line: number): boolean => texts.every((lines) => lines[line] === texts[0]?.[line])
    let to = from
    while (to < length && isShared(to) === isShared(from)) to++
    const pieces = texts.map((lines) => lines.slice(from, to).join('\n'))
    // Half of an inner condition cannot stand in an outer one.
    if (!isShared(from) && pieces.some((piece) => !isBalanced(piece))) return under(cases)
    output += isShared(from) ? `${pieces[0] ?? ''}\n` : under(cases.map(({ when }, index) => ({ when, text: `${pieces[index] ?? ''}\n` })))
    from = to
  }
  return output
}

function isBalanced(text: string): boolean {
  let depth = 0
  for (const [, word] of text.matchAll(/\{\{- (if|else|end)\b/g)) {
    depth += word === 'if' ? 1 : word === 'end' ? -1 : 0
    if (depth < 0 || (depth === 0 && word === 'else')) return false
  }
  return depth === 0
}

function under(cases: readonly CaseText[]): string {
  const lines = cases.map(({ when, text }, index) => {
    const opening = when === undefined ? '{{- else }}' : index === 0 ? `{{- if ${when} }}` : `{{- else if ${when} }}`
    return `${opening}\n${text}`
  })
  return `${lines.join('')}{{- end }}\n`
}

/** With the release would go the custom resources, and with them every policy. */
function kept(object: Manifest): Manifest {
  if (object.kind !== 'CustomResourceDefinition') return object
  return { ...object, metadata: { ...object.metadata, annotations: { 'helm.sh/resource-policy': 'keep' } } }
}

function withValues(text: string): string {
  return VALUES.reduce((result, [mark, value]) => result.replaceAll(mark, value), text)
}

/** File → its text, for all that is generated. The namespace is the release's, and Helm's to make. */
export function chartTemplates(): ReadonlyMap<string, string> {
  const keys = new Set([...INJECTION, ...CERTIFICATES].flatMap(({ options }) => manifestsOf({ ...MARKED, ...options }).map(keyOf)))
  const files = new Map<string, string>()
  for (const key of keys) {
    const [kind = '', name = ''] = key.split('/')
    if (kind === 'Namespace') continue
    const text = template(key, MARKED, choicesOf(key))
    const guarded = name === 'postern-authority' ? `{{- if .Values.authority.create }}\n${text}{{- end }}\n` : text
    files.set(`${name.replace('.postern.dev', '')}-${kind.toLowerCase()}.yaml`, `${HEAD}${guarded}`)
  }
  return files
}

const HEAD = '{{- /* Generated from src/controller/install.ts by `npm run helm`. */ -}}\n'

function write(): void {
  const folder = join(CHART, 'templates')
  const files = chartTemplates()
  for (const name of readdirSync(folder)) if (/-[a-z]+\.yaml$/.test(name)) rmSync(join(folder, name))
  for (const [name, text] of files) writeFileSync(join(folder, name), text)
  mkdirSync(join(CHART, 'files'), { recursive: true })
  for (const { from, to } of COPIES) copyFileSync(from, to)
  console.log(`wrote ${files.size} templates to ${folder}`)
}

if (import.meta.main) write()
