/**
 * The head that the app receives: written anew from what was decided, never the caller's bytes. First what callers may not set is taken
 * out of the header list, so that policy sees what the app will see; after the decision the rest is written, then ours are added.
 */
import type { HeaderList } from '#http/header-list'
import { CHUNKED } from '#wire/http1/limits'
import type { Exchange } from './exchange.ts'
import { DROP, headerClass, HOP, KEEP, OVERRIDE, REQUEST_ID, TRACEPARENT, XFCC } from './identity-headers.ts'

/** What is taken out of a head to be judged apart. `''` where it did not come. */
export interface RequestNaming {
  requestId: string
  traceparent: string
  forwardedCertificates: string
}

/**
 * Toward the app, removes hop-by-hop headers (those that Connection names too), every spelling of reserved names, and overrides unless
 * `keepOverrides`; from the app (`fromApp`) hop-by-hop headers only: what an app may claim is for the other side's sidecar to judge.
 * Request id, traceparent and, toward the app, XFCC are handed to the exchange as they came, not judged yet.
 */
export function takeReservedHeaders(
  exchange: RequestNaming,
  headers: HeaderList,
  hopByHop: readonly string[] | undefined,
  keepOverrides: boolean,
  fromApp = false,
): void {
  const { names, values } = headers
  let kept = 0
  for (let index = 0; index < names.length; index++) {
    const name = names[index] ?? ''
    const value = values[index] ?? ''
    const kind = headerClass(name)
    if (kind !== KEEP) {
      if (kind === HOP || (!fromApp && (kind === DROP || (kind === OVERRIDE && !keepOverrides)))) continue
      if (kind === REQUEST_ID) {
        exchange.requestId = value
        continue
      }
      if (kind === TRACEPARENT) {
        exchange.traceparent = value
        continue
      }
      if (kind === XFCC && !fromApp) {
        exchange.forwardedCertificates = exchange.forwardedCertificates === '' ? value : `${exchange.forwardedCertificates},${value}`
        continue
      }
    }
    if (hopByHop !== undefined && hopByHop.includes(name) && name !== 'host' && name !== 'content-length' && name !== 'transfer-encoding')
      continue
    if (kept !== index) {
      names[kept] = name
      values[kept] = value
    }
    kept++
  }
  // V8 sets the length of an array through its runtime, at the price of several headers: only where it changes.
  if (kept === names.length) return
  names.length = kept
  values.length = kept
}

/**
 * @param path canonical: what was decided is what is sent
 * @param authority for the Host field
 * @param ours our own fields, each with its line end
 */
export function writeRequest(exchange: Exchange, path: string, authority: string, ours: string): string {
  const { request } = exchange
  const { names, values } = request.headers
  let head = `${request.method} ${path}${request.query === undefined ? '' : `?${request.query}`} HTTP/1.1\r\nhost: ${authority}\r\n`
  for (let index = 0; index < names.length; index++) {
    const name = names[index] ?? ''
    if (name === 'host' || name === 'transfer-encoding') continue
    head += `${name}: ${values[index]}\r\n`
  }
  if (request.bodyLength === CHUNKED) head += 'transfer-encoding: chunked\r\n'
  else if (request.upgradeWebsocket) head += 'connection: upgrade\r\nupgrade: websocket\r\n'
  return `${head}${ours}x-request-id: ${exchange.requestId}\r\ntraceparent: ${exchange.traceparent}\r\n\r\n`
}
