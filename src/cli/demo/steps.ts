/** What a newcomer sees, step by step. Each step says what it expects, does it for real, and fails the demo if it came out otherwise. */
import { X509Certificate } from 'node:crypto'
import { request } from 'node:http'
import { join } from 'node:path'
import { askAdmin } from '../admin-client.ts'
import { call, createAgent, type Credentials } from './caller.ts'
import type { Joined } from './authority.ts'
import { rotateUnderTraffic, showIdentities } from './identities.ts'
import type { Service, Shop } from './shop.ts'
import { showTokens } from './tokens.ts'

export interface Stage {
  readonly shop: Shop
  /** A heading. */
  title(text: string): void
  /** One thing that should have happened. @param detail what did, shown below it */
  show(ok: boolean, text: string, detail?: string): void
  /** What `postern explain` says of a request. */
  explain(service: Service, requestId: string): Promise<string>
}

const CATALOG = '/catalog/items/1'
/** What runs is looked at in the turn of the swap; the rest is time to notice the edit. Slow machines included. */
const CUT_MS = 5000

export async function runSteps(stage: Stage): Promise<void> {
  const { shop } = stage
  const joining = ['/ns/edge/sa/gateway', '/ns/shop/sa/cart', '/ns/shop/sa/storefront'].map((path) => shop.join(path))
  const [{ credentials: gateway }, cartCaller, storefrontCaller] = (await Promise.all(joining)) as [Joined, Joined, Joined]
  const [{ credentials: cart }, { credentials: storefront }] = [cartCaller, storefrontCaller]
  // Used when it has ended.
  const brief = await shop.authority.issueBrief('/ns/shop/sa/cart')

  stage.title('Identities that nobody carries around')
  await showIdentities(stage)

  stage.title('Services that call each other, as policy allows')
  const page = await call({ port: shop.ports.storefront, path: '/?user=ada', credentials: gateway })
  stage.show(page.status === 200 && page.body.includes('Lantern'), 'gateway → storefront → cart → catalog: 200', page.body.trim())

  stage.title('Refused by policy, and why')
  await refusal(stage, 'storefront → catalog, going around the cart', '/catalog/items', storefront)
  await refusal(stage, 'cart → catalog, an internal path', '/catalog/internal/stock', cart)

  stage.title('Refused before a byte is served')
  const foreign = await shop.issueForeign('/ns/shop/sa/cart')
  await untilEnded(brief)
  const { catalog } = shop.ports
  for (const [who, credentials] of [
    ['a caller without a certificate', undefined],
    ['one whose certificate has ended', brief],
    ['one of another trust domain, under the same path', foreign],
  ] as const) {
    const answer = await call({ port: catalog, path: CATALOG, credentials })
    stage.show(answer.status === 0, `${who}: connection closed`)
  }
  const handshake = await latestHandshake(shop)
  const explained = await stage.explain('catalog', handshake)
  stage.show(explained.includes('spiffe://elsewhere.example/'), `the last of them: postern explain ${handshake}`, explained)

  stage.title('Identity headers cannot be forged')
  const forged = await call({
    port: catalog,
    path: '/catalog/whoami',
    credentials: cart,
    headers: { 'X-Postern-Principal': 'spiffe://example.org/ns/shop/sa/admin', x_forwarded_client_cert: 'URI=spiffe://example.org/admin' },
  })
  stage.show(
    forged.body.includes('sa/cart"') && !forged.body.includes('admin'),
    'the app sees who really called, whatever the caller claims',
    forged.body,
  )

  await showTokens(stage, cartCaller, storefrontCaller)
  await liveEdit(stage, cart)
  await latency(stage, cart)
  await rotateUnderTraffic(stage)
}

/** Its id is in the record alone: a caller that is turned away is told nothing. */
async function latestHandshake({ dir }: Shop): Promise<string> {
  const { body } = await askAdmin({ kind: 'unix', path: join(dir, 'run', 'catalog-admin.sock') }, '/v1/handshakes?limit=1')
  const { handshakes } = body as { readonly handshakes: readonly { readonly handshake_id: string }[] }
  return handshakes[0]?.handshake_id ?? ''
}

/** Its second may be over already. */
async function untilEnded({ certificatePem }: Credentials): Promise<void> {
  const left = Date.parse(new X509Certificate(certificatePem).validTo) + 1000 - Date.now()
  if (left > 0) await new Promise((resolve) => setTimeout(resolve, left))
}

async function refusal(stage: Stage, what: string, path: string, credentials: Credentials): Promise<void> {
  const answer = await call({ port: stage.shop.ports.catalog, path, credentials })
  stage.show(answer.status === 403, `${what}: 403`, `the caller is told ${answer.body}`)
  stage.show(answer.requestId !== '', `postern explain ${answer.requestId}`, await stage.explain('catalog', answer.requestId))
}

/** A policy edited while a response streams: new answers at once, and what runs is cut. */
async function liveEdit(stage: Stage, cart: Credentials): Promise<void> {
  const { shop } = stage
  const port = shop.ports.catalog
  stage.title('A policy edited live')
  const before = await call({ port, path: CATALOG, credentials: cart })
  let first = (): void => {}
  const streaming = new Promise<void>((resolve) => {
    first = resolve
  })
  const stream = call({ port, path: '/catalog/changes', credentials: cart, onData: () => first() })
  await streaming

  const policy = shop.readPolicy('catalog')
  const edited = Date.now()
  shop.writePolicy('catalog', policy.replace('sa/cart', 'sa/somebody-else'))
  const cut = stream.then(() => Date.now() - edited)
  const changed = await untilStatus(port, cart, 403)
  stage.show(before.status === 200 && changed <= CUT_MS, `cart → catalog: 200 before, 403 ${changed} ms after the edit`)
  const cutAfter = await Promise.race([cut, new Promise<number>((resolve) => setTimeout(resolve, CUT_MS, Infinity))])
  stage.show(cutAfter <= CUT_MS, `a download that was running was cut ${cutAfter} ms after the edit`)
  shop.writePolicy('catalog', policy)
  const restored = await untilStatus(port, cart, 200)
  stage.show(restored <= CUT_MS, `and 200 again ${restored} ms after it was taken back`)
}

/** Ms until the answer has that status, or Infinity after `CUT_MS`. */
async function untilStatus(port: number, credentials: Credentials, status: number): Promise<number> {
  const agent = createAgent(credentials)
  const begun = Date.now()
  try {
    while (Date.now() - begun < CUT_MS) {
      if ((await call({ port, path: CATALOG, credentials, agent })).status === status) return Date.now() - begun
    }
    return Infinity
  } finally {
    agent.destroy()
  }
}

const ROUNDS = 300

async function latency(stage: Stage, credentials: Credentials): Promise<void> {
  const { shop } = stage
  stage.title('What it costs')
  const agent = createAgent(credentials)
  const guarded = await median(() => call({ port: shop.ports.catalog, path: CATALOG, credentials, agent }))
  agent.destroy()
  const direct = await median(() => callPlain(shop.appPorts.catalog))
  stage.show(
    Number.isFinite(guarded),
    `median of ${ROUNDS} calls on a kept connection: ${direct.toFixed(2)} ms straight to the app, ${guarded.toFixed(2)} ms through the sidecar with mTLS, policy and records`,
  )
}

async function median(once: () => Promise<unknown>): Promise<number> {
  const took: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const begun = performance.now()
    await once()
    took.push(performance.now() - begun)
  }
  return took.toSorted((a, b) => a - b)[ROUNDS / 2] ?? Infinity
}

function callPlain(port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const outgoing = request({ host: '127.0.0.1', port, path: CATALOG }, (response) => {
    response.resume()
    response.on('end', resolve)
  })
  outgoing.on('error', reject)
  outgoing.end()
  return promise
}

/** Commands that work while the demo is kept. */
export async function keptCommands(shop: Shop, writeFile: (name: string, text: string) => void): Promise<string> {
  const { credentials: cart } = await shop.join('/ns/shop/sa/cart')
  writeFile('cart.pem', cart.certificatePem)
  writeFile('cart-key.pem', cart.keyPem)
  const as = `--cert ${join(shop.dir, 'cart.pem')} --key ${join(shop.dir, 'cart-key.pem')}`
  const at = `https://127.0.0.1:${shop.ports.catalog}`
  return [`curl -sk ${as} ${at}/catalog/items`, `curl -sk ${as} ${at}/catalog/internal/stock`, `curl -sk ${at}/catalog/items`]
    .map((line) => `  ${line}\n`)
    .join('')
}
