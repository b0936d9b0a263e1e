/** Metrics that count nothing, for tests and tools. */
import type { ValueFamily } from './families.ts'
import type { Metrics } from './metrics.ts'

export function createNoMetrics(): Metrics {
  const nothing = (): void => undefined
  const listener = { request: nothing, handshake: nothing, connectionOpened: nothing, connectionClosed: nothing, shadow: nothing }
  const family: ValueFamily = {
    name: '',
    help: '',
    type: 'gauge',
    labelNames: [],
    with: () => ({ value: 0 }),
    remove: nothing,
    samples: () => [],
  }
  return {
    listener: () => listener,
    peer: () => listener,
    certificateExpiry: nothing,
    bundleRoots: nothing,
    policyRules: nothing,
    lastReload: nothing,
    buildInfo: nothing,
    recordsDropped: nothing,
    counter: () => family,
    gauge: () => family,
    observe: nothing,
    render: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4; charset=utf-8', text: '' }),
    close: nothing,
  }
}
