/** What the process itself uses: CPU, memory, and how late the event loop runs. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import process from 'node:process'
import type { Family, Sample } from './families.ts'

export interface ProcessMetrics {
  readonly families: readonly Family[]
  close(): void
}

/** How often the loop is sampled, ms: fifty times a second is nothing to measure. */
const RESOLUTION = 20
const QUANTILES = [0.5, 0.9, 0.99]
const NANOSECONDS = 1e9

export function createProcessMetrics(): ProcessMetrics {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  delay.enable()
  let total = 0
  let count = 0
  const startTime = performance.timeOrigin / 1000

  /** Quantiles of the time since the last scrape. */
  function delaySamples(): Sample[] {
    const seconds = (nanoseconds: number): number => (delay.count === 0 ? 0 : Math.max(0, nanoseconds / NANOSECONDS - RESOLUTION / 1000))
    const quantiles: Sample[] = QUANTILES.map((quantile) => ({
      suffix: '',
      labels: { quantile },
      value: seconds(delay.percentile(quantile * 100)),
    }))
    quantiles.push({ suffix: '', labels: { quantile: 1 }, value: seconds(delay.max) })
    count += delay.count
    total += delay.count === 0 ? 0 : seconds(delay.mean) * delay.count
    delay.reset()
    return [...quantiles, { suffix: '_sum', labels: {}, value: total }, { suffix: '_count', labels: {}, value: count }]
  }

  return {
    families: [
      {
        name: 'postern_event_loop_delay_seconds',
        help: 'How late the event loop ran; quantiles since the last scrape.',
        type: 'summary',
        labelNames: ['quantile'],
        samples: delaySamples,
      },
      single('process_cpu_seconds_total', 'User and system CPU time.', 'counter', () => {
        const { user, system } = process.cpuUsage()
        return (user + system) / 1e6
      }),
      single('process_resident_memory_bytes', 'Resident memory.', 'gauge', () => process.memoryUsage.rss()),
      single('process_start_time_seconds', 'Start of the process since the epoch.', 'gauge', () => startTime),
    ],
    close: () => void delay.disable(),
  }
}

function single(name: string, help: string, type: 'counter' | 'gauge', read: () => number): Family {
  return { name, help, type, labelNames: [], samples: () => [{ suffix: '', labels: {}, value: read() }] }
}
