/** The address at which the app finds the keys of its assertions: a JWK Set, for this host alone. */
import type { Server } from 'node:http'
import type { Clock } from '#base/clock'
import { listen } from '#base/sockets'
import type { Address } from '#base/units'
import { createSmallServer, type SmallResponse } from '#telemetry/http-server'
import type { Log } from '#telemetry/log'
import type { AssertionSigner } from '#token/assertion'

/** Where clients of JWK Sets look. */
export const KEYS_PATH = '/.well-known/jwks.json'

export interface AssertionKeysOptions {
  /** Loopback or a Unix socket. */
  readonly address: Address
  readonly assertions: AssertionSigner
  readonly clock: Clock
  readonly log: Log
}

/** Resolves when it listens. @throws PosternError ERR_LISTEN */
export async function openAssertionKeys({ address, assertions, clock, log }: AssertionKeysOptions): Promise<Server> {
  const server = createSmallServer({
    routes: [{ path: KEYS_PATH, answer: () => keysAnswer(assertions, clock.now()) }],
    log,
    loopbackHostOnly: address.kind === 'tcp',
  })
  await listen(server, address, 'assertionKeys')
  return server
}

/** @param now ms since the epoch */
export function keysAnswer(assertions: AssertionSigner, now: number): SmallResponse {
  // A key is published for a day before and after its use: an hour in a cache loses nothing.
  return {
    status: 200,
    contentType: 'application/jwk-set+json',
    headers: { 'cache-control': 'max-age=3600' },
    text: assertions.keySet(now),
  }
}
