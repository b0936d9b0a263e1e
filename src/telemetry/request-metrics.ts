/** What the request path counts: handles with their labels fixed, kept with the listener and the connection. */
import type { ReasonCode } from '#base/reasons'
import { createCounterFamily, createGaugeFamily, createHistogramFamily } from './families.ts'
import type { Family, Value } from './families.ts'

/** Metrics of one listener in one protocol; keep it with the listener. */
export interface ListenerMetrics {
  /** @param decideSeconds 0 where policy was not asked */
  request(decision: 'allow' | 'deny', reason: ReasonCode | undefined, durationSeconds: number, decideSeconds: number): void
  handshake(result: 'accepted' | 'refused', reason: ReasonCode | undefined): void
  connectionOpened(): void
  connectionClosed(): void
  /** A shadow policy was asked: what would have been decided, by which rule; `''` for none. */
  shadow(verdict: 'allow' | 'deny', policy: string, rule: string): void
}

/** Requests of one peer's service account; keep it with the connection. */
export interface PeerMetrics {
  request(decision: 'allow' | 'deny'): void
}

export interface RequestMetrics {
  readonly families: readonly Family[]
  listener(name: string, protocol: string): ListenerMetrics
  peer(namespace?: string, serviceAccount?: string): PeerMetrics
}

/** OpenTelemetry's buckets for request durations, and two below for a proxy on loopback. */
const DURATION_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const DECISION_BOUNDS = [5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 1e-3, 1e-2]
/** With `other` and two decisions each, 200 series. */
const PEERS = 99
const OTHER_PEER = ['other', 'other'] as const
const LONGEST_LABEL = 128
/** Rules that shadow verdicts are counted by. */
const SHADOW_RULES = 500

export function createRequestMetrics(): RequestMetrics {
  const requests = createCounterFamily({
    name: 'postern_requests_total',
    help: 'Requests by decision; the reason is empty for those allowed and answered.',
    labelNames: ['listener', 'protocol', 'decision', 'reason'],
    capacity: 10_000,
  })
  const durations = createHistogramFamily({
    name: 'postern_request_duration_seconds',
    help: 'From the end of a request head to the end of the response.',
    labelNames: ['listener', 'protocol'],
    bounds: DURATION_BOUNDS,
  })
  const decisions = createHistogramFamily({
    name: 'postern_decision_duration_seconds',
    help: 'Time that policy took to decide.',
    labelNames: ['listener', 'protocol'],
    bounds: DECISION_BOUNDS,
  })
  const handshakes = createCounterFamily({
    name: 'postern_handshakes_total',
    help: 'Mutual TLS handshakes by result.',
    labelNames: ['listener', 'result', 'reason'],
    capacity: 10_000,
  })
  const connections = createGaugeFamily({ name: 'postern_connections', help: 'Open connections.', labelNames: ['listener'] })
  const shadows = createCounterFamily({
    name: 'postern_shadow_requests_total',
    help: 'What would have been decided if shadow policies were enforced too.',
    labelNames: ['listener', 'verdict'],
  })
  const shadowRules = createCounterFamily({
    name: 'postern_shadow_rules_total',
    help: 'What would have been decided if shadow policies were enforced too, by the rule that would have; `other` once 500 are known.',
    labelNames: ['listener', 'policy', 'rule', 'verdict'],
    capacity: 2 * SHADOW_RULES + 100,
  })
  const knownRules = new Set<string>()
  const peerRequests = createCounterFamily({
    name: 'postern_peer_requests_total',
    help: 'Requests by namespace and service account of the peer; `other` once 99 are known.',
    labelNames: ['namespace', 'service_account', 'decision'],
  })
  const listeners = new Map<string, ListenerMetrics>()
  const peers = new Map<string, PeerMetrics>()

  function createListener(listener: string, protocol: string): ListenerMetrics {
    const answered = requests.with(listener, protocol, 'allow', '')
    const reasons = { allow: new Map<string, Value>(), deny: new Map<string, Value>() }
    const duration = durations.with(listener, protocol)
    const deciding = decisions.with(listener, protocol)
    const accepted = handshakes.with(listener, 'accepted', '')
    const open = connections.with(listener)
    const byRule = new Map<string, Value>()
    const verdicts = { allow: shadows.with(listener, 'allow'), deny: shadows.with(listener, 'deny') }
    return {
      request(decision, reason, durationSeconds, decideSeconds) {
        if (reason === undefined && decision === 'allow') answered.value++
        else {
          const known = reasons[decision]
          let counter = known.get(reason ?? '')
          if (counter === undefined) known.set(reason ?? '', (counter = requests.with(listener, protocol, decision, reason ?? '')))
          counter.value++
        }
        duration.observe(durationSeconds)
        if (decideSeconds > 0) deciding.observe(decideSeconds)
      },
      handshake(result, reason) {
        if (result === 'accepted') accepted.value++
        else handshakes.with(listener, result, reason ?? '').value++
      },
      connectionOpened: () => void open.value++,
      connectionClosed: () => void open.value--,
      shadow(verdict, policy, rule) {
        verdicts[verdict].value++
        const key = `${policy}\0${rule}\0${verdict}`
        let counter = byRule.get(key)
        if (counter === undefined) {
          const isRoom = knownRules.has(`${policy}\0${rule}`) || knownRules.size < SHADOW_RULES
          if (isRoom) knownRules.add(`${policy}\0${rule}`)
          counter = shadowRules.with(
            listener,
            isRoom ? policy.slice(0, LONGEST_LABEL) : 'other',
            isRoom ? rule.slice(0, LONGEST_LABEL) : 'other',
            verdict,
          )
          // What is remembered is bounded with what is counted: documents may change for ever.
          if (isRoom) byRule.set(key, counter)
        }
        counter.value++
      },
    }
  }

  function createPeer(namespace: string, serviceAccount: string): PeerMetrics {
    const counters = {
      allow: peerRequests.with(namespace, serviceAccount, 'allow'),
      deny: peerRequests.with(namespace, serviceAccount, 'deny'),
    }
    return { request: (decision) => void counters[decision].value++ }
  }

  return {
    families: [requests, durations, decisions, handshakes, connections, shadows, shadowRules, peerRequests],
    listener: (name, protocol) => memo(listeners, `${name}\0${protocol}`, () => createListener(name, protocol)),
    peer(namespace = '', serviceAccount = '') {
      const names = [namespace.slice(0, LONGEST_LABEL), serviceAccount.slice(0, LONGEST_LABEL)] as const
      const isRoom = peers.has(names.join('\0')) || peers.size < PEERS
      const [first, second] = isRoom ? names : OTHER_PEER
      return memo(peers, `${first}\0${second}`, () => createPeer(first, second))
    },
  }
}

function memo<V>(map: Map<string, V>, key: string, create: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = create()))
  return value
}
