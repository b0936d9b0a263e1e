/**
 * Envoy's Secret Discovery Service (xDS v3) for the workload's certificate and authorities. Envoy takes the socket as its right to ask: it
 * sends no security header.
 */
import { hash } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { Code, ConnectError, type HandlerContext } from '@connectrpc/connect'
import type { Clock } from '#base/clock'
import { visibleText } from '#telemetry/visible-text'
import type { Log } from '#telemetry/log'
import { entitledState, validIdentities } from './entitlement.ts'
import { endOf } from './follow.ts'
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from './generated/envoy/service/discovery/v3/discovery_pb.ts'
import type { Status } from './generated/google/rpc/status_pb.ts'
import { createInbox } from './inbox.ts'
import { allNames, type NamedSecret, SECRET_TYPE, secretNamed } from './secrets.ts'
import type { WorkloadSource } from './source.ts'

export interface SecretService {
  streamSecrets(requests: AsyncIterable<DiscoveryRequest>, context: HandlerContext): AsyncIterable<DiscoveryResponse>
  deltaSecrets(requests: AsyncIterable<DeltaDiscoveryRequest>, context: HandlerContext): AsyncIterable<DeltaDiscoveryResponse>
  fetchSecrets(request: DiscoveryRequest): DiscoveryResponse
}

/** Names of one subscription. */
const MOST_NAMES = 256

export function createSecretService(source: WorkloadSource, clock: Clock, log: Log): SecretService {
  /** @param names empty: everything */
  function find(names: readonly string[]): { readonly found: readonly NamedSecret[]; readonly missing: readonly string[] } {
    const state = entitledState(source)
    const identities = validIdentities(state, clock)
    const wanted = [...new Set(names.length === 0 ? allNames(state, identities) : names)]
    if (wanted.length > MOST_NAMES) throw new ConnectError(`more than ${MOST_NAMES} names`, Code.InvalidArgument)
    const all = wanted.map((name) => secretNamed(name, state, identities))
    return { found: all.filter((one) => one !== undefined), missing: wanted.filter((_, index) => all[index] === undefined) }
  }

  function respond(names: readonly string[], nonce: string): DiscoveryResponse {
    const { found, missing } = find(names)
    if (missing.length > 0) {
      const list = missing.map((name) => visibleText(name).slice(0, 256)).join(', ')
      throw new ConnectError(
        `no secret is named ${list}; there are the SPIFFE ID of the workload, its trust domains, default, ROOTCA and ALL`,
        Code.InvalidArgument,
      )
    }
    return create(DiscoveryResponseSchema, {
      versionInfo: versionOf(found),
      typeUrl: SECRET_TYPE,
      nonce,
      resources: found.map(({ resource }) => resource),
    })
  }

  function noteRefusal(detail: Status | undefined): void {
    if (detail === undefined) return
    log.warn(
      { code: detail.code, detail: visibleText(detail.message).slice(0, 500) },
      'Envoy refused the secrets it was given; it keeps those before.',
    )
  }

  async function* streamSecrets(requests: AsyncIterable<DiscoveryRequest>, { signal }: HandlerContext): AsyncGenerator<DiscoveryResponse> {
    using inbox = createInbox(requests, source, signal)
    let names: readonly string[] | undefined
    let sent: DiscoveryResponse | undefined
    let count = 0
    for (;;) {
      let due = false
      for (const request of inbox.take()) {
        checkType(request.typeUrl)
        noteRefusal(request.errorDetail)
        // An answer to what was replaced since; the one to the newest is on its way.
        if (request.responseNonce !== '' && sent !== undefined && request.responseNonce !== sent.nonce) continue
        if (names === undefined || !isSame(names, request.resourceNames)) due = true
        names = request.resourceNames
      }
      const subscribed = names
      const next = subscribed && attempt(sent !== undefined && !due, () => respond(subscribed, String(count + 1)))
      if (next !== undefined && (due || next.versionInfo !== sent?.versionInfo)) {
        count++
        sent = next
        yield next
      }
      if (signal.aborted) throw endOf(signal)
      if (inbox.ended) return
      await inbox.next()
    }
  }

  async function* deltaSecrets(
    requests: AsyncIterable<DeltaDiscoveryRequest>,
    { signal }: HandlerContext,
  ): AsyncGenerator<DeltaDiscoveryResponse> {
    using inbox = createInbox(requests, source, signal)
    /** Name → version that the client has; undefined: none yet; `''`: it was told that there is none. */
    const names = new Map<string, string | undefined>()
    let first = true
    let count = 0
    for (;;) {
      for (const request of inbox.take()) {
        checkType(request.typeUrl)
        noteRefusal(request.errorDetail)
        for (const name of request.resourceNamesUnsubscribe) names.delete(name)
        const { resourceNamesSubscribe } = request
        const added = first && resourceNamesSubscribe.length === 0 ? find([]).found.map(({ name }) => name) : resourceNamesSubscribe
        // What is asked for is sent, even where the client has it: it may have dropped it.
        for (const name of added) names.set(name, undefined)
        first = false
      }
      const next = names.size === 0 ? undefined : attempt(count > 0, () => find([...names.keys()]))
      const resources = (next?.found ?? []).filter(({ name, version }) => names.get(name) !== version)
      const removed = (next?.missing ?? []).filter((name) => names.get(name) !== '')
      if (resources.length > 0 || removed.length > 0) {
        for (const { name, version } of resources) names.set(name, version)
        for (const name of removed) names.set(name, '')
        yield create(DeltaDiscoveryResponseSchema, {
          systemVersionInfo: versionOf(next?.found ?? []),
          typeUrl: SECRET_TYPE,
          nonce: String(++count),
          resources: resources.map(({ name, version, resource }) => ({ name, version, resource })),
          removedResources: removed,
        })
      }
      if (signal.aborted) throw endOf(signal)
      if (inbox.ended) return
      await inbox.next()
    }
  }

  return {
    streamSecrets,
    deltaSecrets,
    fetchSecrets(request) {
      if (request.typeUrl !== '') checkType(request.typeUrl)
      return respond(request.resourceNames, '')
    },
  }
}

/** While a stream lives, that there is nothing newer yet is no reason to end it. */
function attempt<T>(started: boolean, make: () => T): T | undefined {
  try {
    return make()
  } catch (error) {
    if (started && ConnectError.from(error).code === Code.Unavailable) return undefined
    throw error
  }
}

function checkType(typeUrl: string): void {
  if (typeUrl !== SECRET_TYPE) throw new ConnectError(`only resources of type ${SECRET_TYPE} are served here`, Code.InvalidArgument)
}

function versionOf(secrets: readonly NamedSecret[]): string {
  return hash('sha256', secrets.map(({ name, version }) => `${name} ${version}`).join('\n'), 'hex').slice(0, 16)
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return new Set(a).size === new Set(b).size && b.every((name) => a.includes(name))
}
