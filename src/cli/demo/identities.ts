/** Steps of the demo about identities: where they come from, and that renewals and a new root lose no request. */
import { join } from 'node:path'
import { askAdmin } from '../admin-client.ts'
import type { Joined } from './authority.ts'
import { call, createAgent } from './caller.ts'
import { type Service, SERVICES, type Shop } from './shop.ts'
import type { Stage } from './steps.ts'

/** What `/v1/identity` tells, as far as it is shown. */
interface Identity {
  readonly id: string
  readonly serial: string
  readonly not_after: string
  readonly source: { readonly next_renewal: string }
  readonly bundles: readonly { readonly own: boolean; readonly roots: readonly string[] }[]
}

async function identityOf({ dir }: Shop, service: Service): Promise<Identity> {
  const { body } = await askAdmin({ kind: 'unix', path: join(dir, 'run', `${service}-admin.sock`) }, '/v1/identity')
  return body as Identity
}

const identitiesOf = (shop: Shop): Promise<readonly Identity[]> => Promise.all(SERVICES.map((service) => identityOf(shop, service)))

function rootsOf({ bundles }: Identity): readonly string[] {
  return bundles.find(({ own }) => own)?.roots ?? []
}

export async function showIdentities(stage: Stage): Promise<void> {
  const identities = await identitiesOf(stage.shop)
  const lines = identities.map(
    ({ id, not_after: end, source }) => `${id}, until ${clock(end)}, renewed at ${clock(source.next_renewal)} by itself`,
  )
  const ok = identities.every(({ id }, index) => id.endsWith(`/sa/${SERVICES[index]}`))
  stage.show(ok, 'each sidecar showed a join token once, and has a certificate for a key that never left it', lines.join('\n'))
}

/** Calls all the way through the shop for as long as it lasts, with whichever identity the gateway has. */
function beginTraffic(shop: Shop, gateway: Joined): { stop(): Promise<{ readonly answered: number; readonly failed: readonly string[] }> } {
  const failed: string[] = []
  let answered = 0
  let stopping = false

  async function calls(): Promise<void> {
    let { credentials } = gateway
    let agent = createAgent(credentials)
    while (!stopping) {
      if (gateway.credentials.certificatePem !== credentials.certificatePem) {
        // As a sidecar does when its certificate is renewed: the old connection ends with its last answer.
        agent.destroy()
        ;({ credentials } = gateway)
        agent = createAgent(credentials)
      }
      const answer = await call({ port: shop.ports.storefront, path: '/?user=ada', credentials, agent })
      if (answer.status === 200) answered++
      else failed.push(`${answer.status} ${answer.body}`.trim())
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    agent.destroy()
  }

  const running = Promise.all([calls(), calls()])
  return {
    async stop() {
      stopping = true
      await running
      return { answered, failed }
    },
  }
}

const WAIT = ['--wait', '15s']

export async function rotateUnderTraffic(stage: Stage): Promise<void> {
  const { shop } = stage
  stage.title('A new root and new certificates for everyone, under traffic')
  const gateway = await shop.join('/ns/edge/sa/gateway')
  const before = await identitiesOf(shop)
  const traffic = beginTraffic(shop, gateway)
  const rotate = (...args: readonly string[]): Promise<string> => shop.authority.command('rotate', args)
  const begun = Date.now()
  const since = (): string => `${((Date.now() - begun) / 1000).toFixed(1)} s`

  await rotate('prepare')
  await rotate('publish')
  await rotate('activate', ...WAIT)
  const published = await identitiesOf(shop)
  stage.show(
    published.every((identity) => rootsOf(identity).length === 2),
    `${since()}: the new root is in every bundle beside the old one, so the new authority signs`,
  )
  await rotate('taint')
  await rotate('revoke', ...WAIT)
  const after = await untilRoots(shop, 1)
  const { answered, failed } = await traffic.stop()
  stage.show(
    after.every(({ serial }, index) => serial !== before[index]?.serial),
    `${since()}: every sidecar has renewed, each with a new key`,
    after
      .map(({ id, serial }, index) => `${id.replace(/.*\//, '')}: ${before[index]?.serial.slice(0, 8)} → ${serial.slice(0, 8)}`)
      .join('\n'),
  )
  const isReplaced = after.every(
    (identity, index) => !rootsOf(identity).some((root) => before[index] && rootsOf(before[index]).includes(root)),
  )
  stage.show(isReplaced, 'the old root is trusted no more')
  stage.show(
    answered > 0 && failed.length === 0,
    `${answered} requests meanwhile, ${failed.length} failed`,
    failed.slice(0, 3).join('\n') || undefined,
  )
}

/** What was revoked reaches the sidecars with their next look. */
async function untilRoots(shop: Shop, count: number): Promise<readonly Identity[]> {
  const deadline = Date.now() + 5_000
  for (;;) {
    const identities = await identitiesOf(shop)
    if (identities.every((identity) => rootsOf(identity).length === count) || Date.now() > deadline) return identities
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

function clock(time: string): string {
  return time.slice(11, 19)
}
