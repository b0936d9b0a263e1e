/** A SPIFFE bundle endpoint over TLS whose answer the test sets. */
import { createServer } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestSvid } from '../support/authority.ts'

export type Answer = string | ((request: IncomingMessage, response: ServerResponse) => void)

export interface BundleEndpoint extends AsyncDisposable {
  readonly port: number
  /** Requests so far. */
  readonly asked: number
  /** Resolves when `asked` has reached `count`. */
  waitFor(count: number): Promise<void>
  /** A bundle, or what writes the answer. */
  answer: Answer
  /** Another certificate from the next connection on. */
  show(svid: TestSvid): void
}

export async function startBundleEndpoint(svid: TestSvid, first: Answer): Promise<BundleEndpoint> {
  const waiting: { readonly count: number; readonly resolve: () => void }[] = []
  let asked = 0
  const server = createServer({ cert: svid.certificatePem, key: svid.keyPem, minVersion: 'TLSv1.3' }, (request, response) => {
    asked++
    const { answer } = endpoint
    response.setHeader('connection', 'close')
    if (typeof answer === 'function') answer(request, response)
    else response.setHeader('content-type', 'application/json').end(answer)
    response.on('close', () => {
      for (const waiter of waiting) if (asked >= waiter.count) waiter.resolve()
    })
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const endpoint: BundleEndpoint = {
    port: (server.address() as AddressInfo).port,
    get asked() {
      return asked
    },
    async waitFor(count) {
      if (asked >= count) return
      await new Promise<void>((resolve) => void waiting.push({ count, resolve }))
    },
    answer: first,
    show: (next) => server.setSecureContext({ cert: next.certificatePem, key: next.keyPem }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
  return endpoint
}
