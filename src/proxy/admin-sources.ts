/** What the admin address shows of a running sidecar, each field by name: nothing that is not listed here can be seen. */
import type { ExchangeEvent } from '#audit/event'
import type { Ring } from '#audit/ring'
import { isoTime } from '#audit/time-text'
import { formatAddress } from '#base/units'
import { scopeOf } from '#config/scope'
import type { InboundConfig, OutboundConfig, SidecarConfig } from '#config/sidecar-config'
import type { InputStatus, Snapshot, SnapshotSource } from '#config/snapshot'
import { appliesTo } from '#policy/document'
import { explain } from '#policy/explain'
import type { RootLog } from '#telemetry/log'
import type { AdminSources } from './admin.ts'
import type { Registry } from './registry.ts'

export interface AdminSourcesOptions {
  readonly source: SnapshotSource
  readonly decisions: Ring
  readonly registry: Registry
  readonly log: RootLog
  readonly digestOf: (generation: number) => string
  /** Begins; does not wait. */
  readonly drain: () => void
}

/** Rules of an explanation that are shown; the nearest come first. */
const SHOWN_RULES = 50

export function createAdminSources({ source, decisions, registry, log, digestOf, drain }: AdminSourcesOptions): AdminSources {
  return {
    decisions,
    explain: (event) => explanationOf(source.current, event),
    generation: () => source.current.generation,
    digestOf,
    identity: () => identityView(source.current),
    policies: () => policiesView(source.current, source.status()),
    connections: (limit) => registry.describe(limit),
    config: () => configView(source),
    drain,
    setLogLevel: (level) => log.setLevel(level),
  }
}

function explanationOf({ config, documents }: Snapshot, { origin, facts, time }: ExchangeEvent): unknown {
  const inbound = config.inbound.find(({ listen }) => formatAddress(listen) === origin.listener)
  if (facts === undefined || origin.direction === 'outbound' || inbound === undefined) return undefined
  const { considered, ...explanation } = explain(documents, scopeOf(config, inbound), facts, time)
  return { ...explanation, considered: considered.slice(0, SHOWN_RULES), considered_total: considered.length }
}

function identityView({ identity, trust }: Snapshot): unknown {
  return {
    id: identity.id.uri,
    certificate: {
      serial: identity.facts.serial,
      fingerprint: identity.facts.fingerprint,
      not_before: isoTime(identity.facts.notBefore),
      not_after: isoTime(identity.facts.notAfter),
    },
    chain_length: identity.chain.length,
    bundles: [...trust.bundles.values()].map(({ trustDomain, roots }) => ({
      trust_domain: trustDomain,
      roots: roots.map(({ fingerprint, x509, facts }) => ({
        fingerprint,
        subject: x509.subject,
        not_after: isoTime(facts.certificate.notAfter),
      })),
    })),
  }
}

function policiesView({ config, documents, policies, generation, shortDigest }: Snapshot, inputs: readonly InputStatus[]): unknown {
  return {
    generation,
    digest: shortDigest,
    listeners: config.inbound.map((inbound, index) => ({
      listener: formatAddress(inbound.listen),
      rules: policies[index]?.rules ?? 0,
      documents: documents.filter((document) => appliesTo(document, scopeOf(config, inbound))).map(({ name }) => name),
    })),
    documents: documents.map(({ name, file, mode, rules }) => ({ name, file, mode, rules: rules.map((rule) => rule.name) })),
    inputs: inputs.filter(({ kind }) => kind === 'policy').map(inputView),
  }
}

function configView(source: SnapshotSource): unknown {
  const { current, lastReload } = source
  return {
    generation: current.generation,
    digest: current.digest,
    last_reload: { at: isoTime(lastReload.at), successful: lastReload.successful },
    inputs: source.status().map(inputView),
    sidecar: sidecarView(current.config),
  }
}

function inputView({ input, kind, digest, appliedAt, error, failedAt }: InputStatus): unknown {
  return {
    input,
    kind,
    digest,
    applied_at: appliedAt === undefined ? undefined : isoTime(appliedAt),
    error,
    failed_at: failedAt === undefined ? undefined : isoTime(failedAt),
  }
}

function sidecarView(config: SidecarConfig): unknown {
  const { file, name, namespace, labels, tls, forwarders, records, admin, health, drain } = config
  return {
    file,
    name,
    namespace,
    labels,
    tls,
    inbound: config.inbound.map(inboundView),
    outbound: config.outbound.map(outboundView),
    policies: config.policies,
    federation: config.federation.map(({ trustDomain }) => trustDomain),
    forwarders: forwarders.map(({ uri }) => uri),
    records,
    admin: admin === undefined ? undefined : formatAddress(admin),
    health: health === undefined ? undefined : formatAddress(health),
    drain_ms: drain,
  }
}

function inboundView({ listen, app, unsafeApp, protocol, limits, timeouts, paths }: InboundConfig): unknown {
  return { listen: formatAddress(listen), app: formatAddress(app), unsafe_app: unsafeApp, protocol, limits, timeouts_ms: timeouts, paths }
}

function outboundView({ listen, hosts, to, peer, protocol, limits, timeouts }: OutboundConfig): unknown {
  return {
    listen: formatAddress(listen),
    hosts,
    to: to.map(formatAddress),
    peer: peer.map(({ uri }) => uri),
    protocol,
    limits,
    timeouts_ms: timeouts,
  }
}
