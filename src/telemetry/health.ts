/** The health port: `/livez`, `/readyz`, `/metrics`, the app's probes where it has such, and nothing else. */
import type { Server } from 'node:http'
import { createSmallServer } from './http-server.ts'
import type { Route, SmallRequest, SmallResponse } from './http-server.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

/** What must hold for the process to be ready. `detail` is one sentence for `/readyz?verbose`, empty where there is nothing to say: no secrets. */
export interface ReadinessCheck {
  readonly name: string
  run(): { readonly ok: boolean; readonly detail: string }
}

export interface HealthOptions {
  readonly checks: readonly ReadinessCheck[]
  /** Not ready from then on: no new traffic is wanted. */
  readonly draining: () => boolean
  readonly metrics: Metrics
  readonly log: Log
  /** Questions about the app that are answered here as well. Default none. */
  readonly probes?: readonly Route[]
}

/** Not listening yet. */
export function createHealthServer({ checks, draining, metrics, log, probes = [] }: HealthOptions): Server {
  function ready({ query }: SmallRequest): SmallResponse {
    const outcomes = [
      { name: 'draining', ok: !draining(), detail: draining() ? 'it is draining' : '' },
      ...checks.map((check) => ({ name: check.name, ...check.run() })),
    ]
    const isReady = outcomes.every(({ ok }) => ok)
    const verdict = isReady ? 'ready' : 'not ready'
    const status = isReady ? 200 : 503
    if (!query.has('verbose')) return { status, text: `${verdict}\n` }
    const lines = outcomes.map(({ name, ok, detail }) =>
      ok ? `[+] ${name} ok${detail === '' ? '' : `: ${oneLine(detail)}`}` : `[-] ${name} failed: ${oneLine(detail)}`,
    )
    return { status, text: `${[...lines, verdict].join('\n')}\n` }
  }

  return createSmallServer({
    log,
    routes: [
      ...probes,
      { path: '/livez', answer: () => ({ status: 200, text: 'ok\n' }) },
      { path: '/readyz', answer: ready },
      {
        path: '/metrics',
        async answer() {
          const { contentType, text } = await metrics.render()
          return { status: 200, contentType, text }
        },
      },
    ],
  })
}

function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
}
