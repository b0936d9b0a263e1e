/** Families as Prometheus text (exposition format 0.0.4). */
import type { Metric } from 'prom-client'
import type { Family } from './families.ts'

export interface Exposition {
  readonly contentType: string
  readonly text: string
}

/**
 * Loads prom-client with the first scrape, and of it the registry alone, which writes the format:
 * its metric classes are not needed, and all of it would cost 4 MB of memory instead of 0.7.
 */
export async function exposition(families: Iterable<Family>): Promise<Exposition> {
  const { default: Registry } = await import('prom-client/lib/registry.js')
  const registry = new Registry()
  for (const family of families) registry.registerMetric(metricOf(family) as unknown as Metric)
  return { contentType: registry.contentType, text: await registry.metrics() }
}

/** What the registry asks of a metric. */
function metricOf(family: Family): { readonly name: string; get(): object } {
  const { name, help, type } = family
  return {
    name,
    get: () => ({
      name,
      help,
      type,
      aggregator: 'sum',
      values: family.samples().map(({ suffix, labels, value }) => ({ metricName: name + suffix, labels, value })),
    }),
  }
}
