/** Asks the controller for a sidecar's snapshot, over mutual TLS, of a server that must be the controller. */
import { Client } from 'undici'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { formatAddress, type TcpAddress } from '#base/units'
import type { Identity } from '#config/snapshot'
import type { SpiffeId } from '#identity/spiffe-id'
import { pinnedConnector } from '#svid-source/pinned-connector'
import type { AskController } from './agent.ts'

export interface ControllerClientOptions {
  readonly address: TcpAddress
  readonly peer: SpiffeId
  /** As it is now. */
  readonly identity: () => Identity
  readonly clock: Clock
}

const CONNECT = 5_000
/** The controller answers within 30 s that there is nothing new. */
const ANSWER = 60_000
/** 10,000 rules are some 3 MB. */
const LONGEST_ANSWER = 64 * 1024 * 1024

export interface ControllerClient {
  readonly ask: AskController
  close(): void
}

export function createControllerClient({ address, peer, identity, clock }: ControllerClientOptions): ControllerClient {
  const name = formatAddress(address)
  let open: { readonly identity: Identity; readonly client: Client } | undefined

  /** Connections are made with one certificate and one bundle: others mean others. */
  function client(): Client {
    const now = identity()
    if (open?.identity.identity === now.identity && open.identity.trust === now.trust) return open.client
    void open?.client.close().catch(() => {})
    const made = new Client(`https://${name}`, {
      connect: pinnedConnector({
        address,
        identity: now.identity,
        trust: now.trust,
        expected: peer.uri,
        clock,
        timeout: CONNECT,
        stranger: (why) => new PosternError('ERR_CONTROLLER_SERVER', `what answers at ${name} is not the controller: ${why}`),
      }),
      pipelining: 1,
      headersTimeout: ANSWER,
      bodyTimeout: ANSWER,
      maxResponseSize: LONGEST_ANSWER,
    })
    open = { identity: now, client: made }
    return made
  }

  return {
    async ask(asked, signal) {
      const { statusCode, body } = await client().request({
        method: 'POST',
        path: '/v1/snapshot',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(asked),
        signal,
      })
      const text = await body.text()
      if (statusCode === 304) return undefined
      if (statusCode !== 200)
        throw new PosternError('ERR_CONTROLLER_ANSWER', `the controller at ${name} answered with status ${statusCode}`)
      return JSON.parse(text) as unknown
    },
    close() {
      void open?.client.destroy().catch(() => {})
      open = undefined
    },
  }
}
