/** Rules and dashboard speak of metrics, labels and values of labels that exist in the code. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readPlainYaml } from '#config/plain-yaml'

const ROOT = join(import.meta.dirname, '..', '..')

/** Families by name, with their labels, read from where they are made. */
const families = new Map<string, readonly string[]>()
for (const file of globSync('src/**/*.ts', { cwd: ROOT })) {
  const text = readFileSync(join(ROOT, file), 'utf8')
  for (const [, made = '', observed = ''] of text.matchAll(/(\{\s*name: 'postern_[^}]*\})|observe\(\s*'(postern_\w+)'/g)) {
    const name = observed === '' ? (/name: '(postern_\w+)'/.exec(made)?.[1] ?? '') : observed
    const shared = /\blabelNames,/.test(made) ? text : made
    const labels = /labelNames(?::| =) \[([^\]]*)\]/.exec(shared)?.[1] ?? ''
    families.set(
      name,
      [...labels.matchAll(/'(\w+)'/g)].map(([, label = '']) => label),
    )
  }
}
/** Put on by Prometheus, and of histograms and summaries. */
const ADDED = ['namespace', 'pod', 'le', 'quantile']

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string }
}
const rules = readPlainYaml(readFileSync(join(ROOT, 'deploy/prometheus/rules.yaml'), 'utf8'), 'rules.yaml') as {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}
const dashboard = JSON.parse(readFileSync(join(ROOT, 'deploy/grafana/postern.json'), 'utf8')) as {
  readonly panels: readonly { readonly id: number; readonly title: string; readonly targets: readonly { readonly expr: string }[] }[]
}
const expressions = [
  ...rules.groups.flatMap((group) => group.rules.map(({ alert, expr }) => [alert, expr] as const)),
  ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
]

function familyOf(name: string): readonly string[] | undefined {
  return families.get(name) ?? families.get(name.replace(/_(?:bucket|sum|count)$/, ''))
}

test('every metric exists', () => {
  assert.ok(families.size > 30)
  const unknown = expressions.flatMap(([title, expr]) =>
    [...expr.matchAll(/postern_\w+/g)].flatMap(([name]) => (familyOf(name) === undefined ? [`${title}: ${name}`] : [])),
  )
  assert.deepEqual(unknown, [])
})

test('every label in a selector, and every label that is summed by, is one of its metric', () => {
  for (const [title, expr] of expressions) {
    const all = [...expr.matchAll(/postern_\w+/g)].flatMap(([name]) => familyOf(name) ?? [])
    for (const [, name = '', selector = ''] of expr.matchAll(/(postern_\w+)\{([^}]*)\}/g)) {
      for (const [, label = ''] of selector.matchAll(/(\w+)(?:=~|!~|!=|=)/g)) {
        assert.ok([...(familyOf(name) ?? []), ...ADDED].includes(label), `${title}: ${name} has no label ${label}`)
      }
    }
    for (const [, list = ''] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
      for (const label of list.split(',')) assert.ok([...all, ...ADDED].includes(label.trim()), `${title}: no label ${label}`)
    }
  }
})

test('every value of a label is one that the code gives', () => {
  const sources = globSync('src/**/*.ts', { cwd: ROOT }).map((file) => readFileSync(join(ROOT, file), 'utf8'))
  for (const [title, expr] of expressions) {
    for (const [, label = '', value = ''] of expr.matchAll(/(\w+)!?="([\w-]+)"/g)) {
      assert.ok(
        sources.some((text) => text.includes(`'${value}'`)),
        `${title}: ${label} is never ${value}`,
      )
    }
  }
})

test('every alert says how bad it is, what has happened and what to do; names and panels are told apart', () => {
  const alerts = rules.groups.flatMap((group) => group.rules)
  for (const { alert, for: lasting, labels, annotations } of alerts) {
    assert.match(labels.severity, /^(?:warning|critical)$/, alert)
    assert.match(lasting, /^\d+[mh]$/, alert)
    assert.ok(annotations.summary.endsWith('.') && annotations.description.length > 20, alert)
  }
  assert.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length)
  assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length)
})
