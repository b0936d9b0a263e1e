/** Families of counters, gauges and histograms as plain numbers: what runs per request adds to a field, and nothing else. */

/** One sample of a family, as the text format has it. `suffix` is appended to the family's name. */
export interface Sample {
  readonly suffix: '' | '_bucket' | '_sum' | '_count'
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

export interface Family {
  /** `postern_…`, base units, `_total` on counters. */
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  readonly labelNames: readonly string[]
  samples(): readonly Sample[]
}

/** A child with its labels fixed; keep it where it is used often. */
export interface Value {
  value: number
}

export interface ValueFamily extends Family {
  /** The child with these label values, in the order of `labelNames`. Beyond `capacity` children all new ones are one, with every label `other`. */
  with(...labels: string[]): Value
  /** Forgets a child, e.g. of something that is gone. */
  remove(...labels: string[]): void
}

export interface HistogramChild {
  observe(value: number): void
}

export interface HistogramFamily extends Family {
  with(...labels: string[]): HistogramChild
}

export interface FamilyOptions {
  readonly name: string
  readonly help: string
  readonly labelNames?: readonly string[]
  /** Children at most. Default 1,000. */
  readonly capacity?: number
}

const DEFAULT_CAPACITY = 1000

export function createCounterFamily(options: FamilyOptions): ValueFamily {
  return createValueFamily('counter', options)
}

export function createGaugeFamily(options: FamilyOptions): ValueFamily {
  return createValueFamily('gauge', options)
}

function createValueFamily(type: 'counter' | 'gauge', options: FamilyOptions): ValueFamily {
  const { children, labelNames } = createChildren(options, (): Value => ({ value: 0 }))
  return {
    name: options.name,
    help: options.help,
    type,
    labelNames,
    with: (...labels) => children.with(labels),
    remove: (...labels) => children.remove(labels),
    samples: () => children.all().map(([labels, child]) => ({ suffix: '' as const, labels, value: child.value })),
  }
}

interface Buckets extends HistogramChild {
  /** Not cumulated; one more than there are bounds. */
  readonly counts: Float64Array
  sum: number
}

/** @param bounds upper bounds, ascending, without +Inf */
export function createHistogramFamily(options: FamilyOptions & { readonly bounds: readonly number[] }): HistogramFamily {
  const bounds = Float64Array.from(options.bounds)
  const { children, labelNames } = createChildren(options, () => createBuckets(bounds))
  return {
    name: options.name,
    help: options.help,
    type: 'histogram',
    labelNames,
    with: (...labels) => children.with(labels),
    samples: () => children.all().flatMap(([labels, child]) => histogramSamples(bounds, labels, child)),
  }
}

function createBuckets(bounds: Float64Array): Buckets {
  const counts = new Float64Array(bounds.length + 1)
  return {
    counts,
    sum: 0,
    observe(value) {
      let index = 0
      while (index < bounds.length && value > (bounds[index] as number)) index++
      counts[index] = (counts[index] as number) + 1
      this.sum += value
    },
  }
}

function histogramSamples(bounds: Float64Array, labels: Record<string, string>, { counts, sum }: Buckets): Sample[] {
  const samples: Sample[] = []
  let count = 0
  counts.forEach((inBucket, index) => {
    count += inBucket
    samples.push({ suffix: '_bucket', labels: { ...labels, le: bounds[index] ?? '+Inf' }, value: count })
  })
  samples.push({ suffix: '_sum', labels, value: sum }, { suffix: '_count', labels, value: count })
  return samples
}

interface Children<Child> {
  with(labels: readonly string[]): Child
  remove(labels: readonly string[]): void
  all(): [Record<string, string>, Child][]
}

function createChildren<Child>(
  { name, labelNames = [], capacity = DEFAULT_CAPACITY }: FamilyOptions,
  create: () => Child,
): { readonly children: Children<Child>; readonly labelNames: readonly string[] } {
  const byKey = new Map<string, { readonly labels: Record<string, string>; readonly child: Child }>()

  function childOf(labels: readonly string[]): Child {
    if (labels.length !== labelNames.length) throw new TypeError(`${name} takes the labels ${labelNames.join(', ')}`)
    const key = labels.join('\0')
    const found = byKey.get(key)
    if (found !== undefined) return found.child
    if (byKey.size >= capacity && labels.some((label) => label !== OTHER)) return childOf(labelNames.map(() => OTHER))
    const child = create()
    byKey.set(key, { labels: Object.fromEntries(labelNames.map((label, index) => [label, labels[index] ?? ''])), child })
    return child
  }

  return {
    labelNames,
    children: {
      with: childOf,
      remove: (labels) => void byKey.delete(labels.join('\0')),
      all: () => [...byKey.values()].map(({ labels, child }) => [labels, child]),
    },
  }
}

const OTHER = 'other'
