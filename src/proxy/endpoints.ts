/**
 * Where an outbound destination can be reached: names resolved again and again, the less loaded of two drawn at random, dead ones
 * passed over for a while that grows.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { backoffDelay } from '#base/backoff'
import type { TcpAddress } from '#base/units'

export interface Endpoint {
  readonly host: string
  /** What the name was before it was resolved. */
  readonly name: string
  readonly port: number
  inFlight: number
  failures: number
  /** Ms since the epoch. */
  deadUntil: number
}

export interface Endpoints {
  /** Draws one, not among `tried`; dead ones only if there are no others. Undefined when there is none to try. */
  pick(tried: readonly Endpoint[], now: number): Endpoint | undefined
  /** Resolves names if their answer is older than 5 s. Rejects only if there is nothing to go by. */
  refresh(now: number): Promise<void>
  /** True while `pick` can be asked without waiting for `refresh`. */
  readonly known: boolean
  failed(endpoint: Endpoint, now: number): void
  succeeded(endpoint: Endpoint): void
  readonly all: readonly Endpoint[]
}

const RESOLVE_EVERY_MS = 5000
const DEAD_FIRST_MS = 500
const DEAD_MAX_MS = 30_000

type Resolve = (name: string) => Promise<readonly string[]>

const resolveSystem: Resolve = async (name) => (await lookup(name, { all: true, order: 'verbatim' })).map((found) => found.address)

export function createEndpoints(addresses: readonly TcpAddress[], random: () => number, resolve: Resolve = resolveSystem): Endpoints {
  let all: Endpoint[] = []
  let resolvedAt = -Infinity
  let resolving: Promise<void> | undefined

  async function resolveAll(now: number): Promise<void> {
    const found: Endpoint[] = []
    let fault: unknown
    for (const { host: name, port } of addresses) {
      try {
        for (const host of isIP(name) === 0 ? await resolve(name) : [name]) {
          const before = all.find((endpoint) => endpoint.host === host && endpoint.port === port && endpoint.name === name)
          found.push(before ?? { host, name, port, inFlight: 0, failures: 0, deadUntil: 0 })
        }
      } catch (error) {
        // The last answer is better than none.
        fault = error
        found.push(...all.filter((endpoint) => endpoint.name === name && endpoint.port === port))
      }
    }
    if (found.length === 0) throw fault
    all = found
    resolvedAt = now
  }

  function draw(from: readonly Endpoint[]): Endpoint | undefined {
    const first = from[Math.floor(random() * from.length)]
    const second = from[Math.floor(random() * from.length)]
    if (first === undefined || second === undefined) return first
    return second.inFlight < first.inFlight ? second : first
  }

  return {
    pick(tried, now) {
      if (all.length === 1 && tried.length === 0) return all[0]
      const untried = all.filter((endpoint) => !tried.includes(endpoint))
      const alive = untried.filter((endpoint) => endpoint.deadUntil <= now)
      return draw(alive.length > 0 ? alive : untried)
    },
    async refresh(now) {
      if (now - resolvedAt < RESOLVE_EVERY_MS) return
      resolving ??= resolveAll(now).finally(() => {
        resolving = undefined
      })
      await resolving
    },
    get known() {
      return all.length > 0
    },
    failed(endpoint, now) {
      endpoint.deadUntil = now + backoffDelay(endpoint.failures++, { first: DEAD_FIRST_MS, max: DEAD_MAX_MS, random })
    },
    succeeded(endpoint) {
      endpoint.failures = 0
      endpoint.deadUntil = 0
    },
    get all() {
      return all
    },
  }
}
