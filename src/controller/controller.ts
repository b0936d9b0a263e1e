/** The controller put together: watches, webhook, snapshot service, status. Its identity comes in as a feed, the API server as a client. */
import type { Clock } from '#base/clock'
import type { PosternError } from '#base/errors'
import { boundPort, listen } from '#base/sockets'
import type { ControllerConfig } from '#config/controller-document'
import type { IdentityFeed } from '#config/snapshot'
import type { KubeClient } from '#kube/client'
import type { KubeObject } from '#kube/objects'
import { createCaClient } from '#svid-source/ca-client'
import type { Log } from '#telemetry/log'
import type { Metrics } from '#telemetry/metrics'
import { createConfigMapPublisher, publishTrustBundle } from './bundle-publisher.ts'
import { startPodCertificateSigner } from './pod-certificates/signer.ts'
import type { PolicyVerdict } from './policy-review.ts'
import { countSidecars, createStatusWriter } from './policy-status.ts'
import { followMesh, type Mesh } from './snapshot/mesh.ts'
import { RESOURCES } from './snapshot/objects.ts'
import { createSnapshotServer } from './snapshot/server.ts'
import { publishWebhookBundle } from './webhook-bundle.ts'
import { createWebhookServer } from './webhook-server.ts'

export interface Controller {
  readonly webhookPort: number
  readonly snapshotPort: number
  readonly mesh: Mesh
  /** Why it is not of use at the moment; undefined while it is. */
  readonly fault: string | undefined
  close(): Promise<void>
}

export interface ControllerOptions {
  readonly config: ControllerConfig
  readonly client: KubeClient
  readonly feed: IdentityFeed
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  readonly random: () => number
  /** Tells replicas apart: the pod's name. */
  readonly replica: string
  readonly version: string
  /** Ms between passes over statuses and the webhook's bundle. Default 5,000. */
  readonly interval?: number
}

/** Ms from a change until the statuses that it makes are written. */
const AFTER_CHANGE = 1000

/** @throws PosternError ERR_LISTEN */
export async function startController(options: ControllerOptions): Promise<Controller> {
  const { config, client, feed, metrics, log, clock, random, replica, interval = 5000 } = options
  const { trustDomain, injection } = config
  const reviews = metrics.counter({ name: 'postern_reviews_total', help: 'Reviews of pods, by outcome.', labelNames: ['outcome'] })
  const watchFaults = metrics.counter({
    name: 'postern_kube_faults_total',
    help: 'Failed calls of the API server, by reason.',
    labelNames: ['reason'],
  })
  const onFault = (error: PosternError): void => {
    watchFaults.with(error.code).value++
    log.warn({ reason: error.code, error: error.message }, 'the API server cannot be followed as it should; it is tried again')
  }
  const mesh = followMesh({ client, trustDomain, clock, random, onFault })
  const webhook = createWebhookServer({
    identity: feed.current,
    settings: {
      image: injection.image,
      trustDomain,
      namespace: injection.namespace,
      caAddress: injection.ca,
      controllerAddress: injection.controller,
      controllerPeer: feed.current.identity.id.uri,
      trustBundleSigner: injection.trustBundle,
      podCertificate: injection.podCertificate === true,
      interception: injection.interception,
      passThrough: injection.passThrough,
      excludeNetworks: injection.excludeNetworks,
      version: options.version,
    },
    labelOf: (namespace) => mesh.injectLabel(namespace),
    clock,
    log,
    onReview: (outcome) => void reviews.with(outcome).value++,
  })
  const snapshots = createSnapshotServer({
    mesh,
    identity: feed.current,
    clock,
    onRefused: (reason, detail, address) => log.warn({ reason, detail, address }, 'a caller of the snapshot service was refused'),
  })
  metrics.observe('postern_mesh_sidecars', 'Sidecars that were heard of lately.', () => snapshots.reports().length)
  const policiesRead = metrics
    .counter({
      name: 'postern_policies_read_total',
      help: 'Policies that were read and checked, each once for a version of it and once an hour.',
    })
    .with()
  const status = createStatusWriter({ client, replica, clock, onFault, onRead: () => void policiesRead.value++ })
  const configMaps = createConfigMapPublisher(client)

  const signer = injection.podCertificate === true ? startSigner() : undefined

  function startSigner(): { close(): void } {
    const { identity } = config
    const { trustBundle } = injection
    if (identity.kind !== 'ca' || trustBundle === undefined) throw new TypeError('A signer has a name, and an authority to ask.')
    const authority = createCaClient({ address: identity.address, clock })
    const outcomes = metrics.counter({
      name: 'postern_pod_certificates_total',
      help: 'PodCertificateRequests that were answered, by outcome.',
      labelNames: ['outcome'],
    })
    const running = startPodCertificateSigner({
      client,
      authority,
      feed,
      signer: trustBundle,
      replica,
      replicas,
      clock,
      random,
      log,
      onFault,
      onOutcome: (outcome) => void outcomes.with(outcome).value++,
    })
    metrics.observe('postern_pod_certificates_pending', 'PodCertificateRequests that wait for an answer.', () => running.pending)
    return {
      close() {
        running.close()
        authority.close()
      },
    }
  }

  /** Pods of the controller. */
  function replicas(): readonly string[] {
    return mesh.podsOf(injection.namespace, feed.current.identity.id.serviceAccount ?? '')
  }

  async function trustWebhook(): Promise<void> {
    const changed = await publishWebhookBundle(client, ownBundle(feed, trustDomain))
    if (changed > 0) log.info({ configurations: changed }, 'the webhook is trusted under our bundle')
  }

  async function publishBundle(): Promise<void> {
    const bundle = ownBundle(feed, trustDomain)
    const { trustBundle: signer } = injection
    if (signer === undefined) {
      const namespaces = await configMaps.publish(mesh.injectedNamespaces(), bundle)
      if (namespaces.length > 0) log.info({ namespaces }, 'the trust bundle is published')
    } else if (await publishTrustBundle(client, signer, bundle)) log.info({ signer }, 'the trust bundle is published')
  }

  async function writeStatuses(): Promise<void> {
    const there = replicas()
    await status.write(
      [
        { resource: RESOURCES.policies, policies: mesh.policies },
        { resource: RESOURCES.clusterPolicies, policies: mesh.clusterPolicies },
        { resource: RESOURCES.trustDomains, policies: mesh.trustDomains, review: reviewBundle },
      ],
      countSidecars(snapshots.reports(), (namespace) => mesh.snapshot(namespace)?.digest),
      // Outside of the cluster we are no pod.
      there.includes(replica) ? there : undefined,
    )
  }

  function reviewBundle(object: KubeObject): PolicyVerdict {
    const fault = mesh.bundleFault(object)
    return { errors: fault === undefined ? [] : [fault], warnings: [] }
  }

  /** One that fails does not keep the others from their turn. */
  async function keepUp(steps: readonly (() => Promise<void>)[]): Promise<void> {
    for (const step of steps) {
      await step().catch((error: unknown) => onFault(error as PosternError))
    }
  }

  try {
    await listen(webhook.server, config.webhook, 'spec.webhook.listen')
    await listen(snapshots.server, config.snapshots, 'spec.snapshots.listen')
  } catch (error) {
    signer?.close()
    mesh.close()
    webhook.close()
    snapshots.close()
    throw error
  }
  let running = false
  /** A change of the cluster's leaves the API server's trust in us as it was: many come together. */
  let namespaces = ''
  function run(steps: readonly (() => Promise<void>)[]): void {
    if (running) return
    running = true
    void keepUp(steps).finally(() => {
      running = false
    })
  }
  const pass = (): void => run(mesh.synced ? [trustWebhook, publishBundle, writeStatuses] : [trustWebhook])
  let later: NodeJS.Timeout | undefined
  /** A little later: sidecars come first, and what they say by then need not be written twice. */
  const afterChange = (): void => {
    later ??= setTimeout(
      () => {
        later = undefined
        if (!mesh.synced || running) return
        const now = mesh.injectedNamespaces().join()
        run(now === namespaces ? [writeStatuses] : [publishBundle, writeStatuses])
        namespaces = now
      },
      Math.min(AFTER_CHANGE, interval),
    )
  }
  const timer = setInterval(pass, interval)
  const endMesh = mesh.subscribe(afterChange)
  const endFeed = feed.subscribe(() => {
    webhook.apply(feed.current)
    snapshots.apply(feed.current)
    pass()
  })
  pass()

  return {
    webhookPort: boundPort(webhook.server),
    snapshotPort: boundPort(snapshots.server),
    mesh,
    get fault() {
      if (mesh.synced) return undefined
      return mesh.faults[0]?.message ?? 'the objects of the cluster are being listed'
    },
    close() {
      clearInterval(timer)
      clearTimeout(later)
      endMesh()
      endFeed()
      signer?.close()
      mesh.close()
      webhook.close()
      snapshots.close()
      return client.close()
    },
  }
}

function ownBundle(feed: IdentityFeed, trustDomain: string): string {
  const roots = feed.current.trust.bundles.get(trustDomain)?.roots ?? []
  return roots.map(({ pem }) => pem).join('')
}
