/** A caller's sidecar and a service's, in one mesh: what a client sends to `port` reaches the app through both. */
import type { Protocol } from '#config/sidecar-config'
import { createTestMesh } from './authority.ts'
import { outboundTo } from './outbound-entries.ts'
import { type RunningSidecar, runSidecar } from './sidecar.ts'

export const CALLER = 'spiffe://example.org/ns/shop/sa/cart'

export interface SidecarPair extends AsyncDisposable {
  /** Where the client calls, in plain text on loopback. */
  readonly port: number
  readonly calling: RunningSidecar
  readonly called: RunningSidecar
}

export async function runSidecarPair(app: number, protocol: Protocol, policy?: string): Promise<SidecarPair> {
  const mesh = await createTestMesh()
  const spoken = `      protocol: ${protocol}\n`
  const called = await runSidecar({ mesh, app, path: '/ns/shop/sa/catalog', inbound: spoken, ...(policy === undefined ? {} : { policy }) })
  const calling = await runSidecar({ mesh, path: '/ns/shop/sa/cart', outbound: outboundTo([called.port], '/ns/shop/sa/catalog', spoken) })
  return {
    port: calling.outboundPort,
    calling,
    called,
    async [Symbol.asyncDispose]() {
      await calling[Symbol.asyncDispose]()
      await called[Symbol.asyncDispose]()
    },
  }
}
