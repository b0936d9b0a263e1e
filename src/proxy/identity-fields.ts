/** The headers by which the app learns who calls, from where and how: made once for a connection, as text for HTTP/1.1 and as a list for HTTP/2. */
import type { ConnectionOrigin } from '#audit/event'
import { addHeader, createHeaderList, type HeaderList } from '#http/header-list'
import { xfccElement } from './identity-headers.ts'

export interface IdentityFields {
  /** Each with its line end. @param xfcc what came in x-forwarded-client-cert */
  text(host: string, xfcc: string): string
  /** With request id and traceparent at their end. The names are shared: not to be changed. */
  list(host: string, xfcc: string, requestId: string, traceparent: string): HeaderList
}

/** @param isForwarder the peer's own x-forwarded-client-cert is kept and appended to */
export function createIdentityFields({ peer, sourceIp, tls }: ConnectionOrigin, ownId: string, isForwarder: boolean): IdentityFields {
  const scheme = tls === undefined ? 'http' : 'https'
  const own = peer === undefined ? '' : xfccElement(ownId, peer.certificate.fingerprint, peer.id.uri)
  const node = sourceIp.includes(':') ? `"[${sourceIp}]"` : sourceIp
  let textHost = ''
  let textFields = ''
  let listHost: string | undefined
  let listFields = createHeaderList()

  function fields(host: string, xfcc: string): HeaderList {
    const list = createHeaderList()
    if (peer !== undefined) {
      addHeader(list, 'x-forwarded-client-cert', isForwarder && xfcc !== '' ? `${xfcc},${own}` : own)
      addHeader(list, 'x-postern-principal', peer.id.uri)
    }
    const quoted = /^[\w.-]+$/.test(host) ? host : `"${host}"`
    addHeader(list, 'forwarded', `for=${node};host=${quoted};proto=${scheme}`)
    addHeader(list, 'x-forwarded-for', sourceIp)
    addHeader(list, 'x-forwarded-proto', scheme)
    addHeader(list, 'x-forwarded-host', host)
    return list
  }

  /** With room for request id and traceparent. */
  function named(host: string, xfcc: string): HeaderList {
    const list = fields(host, xfcc)
    addHeader(list, 'x-request-id', '')
    addHeader(list, 'traceparent', '')
    return list
  }

  return {
    text(host, xfcc) {
      if (isForwarder && xfcc !== '') return textOf(fields(host, xfcc))
      if (host !== textHost) {
        textFields = textOf(fields(host, ''))
        textHost = host
      }
      return textFields
    },
    list(host, xfcc, requestId, traceparent) {
      let list = listFields
      if (isForwarder && xfcc !== '') list = named(host, xfcc)
      else if (host !== listHost) {
        list = listFields = named(host, '')
        listHost = host
      }
      const { names } = list
      const values = list.values.slice()
      values[names.length - 2] = requestId
      values[names.length - 1] = traceparent
      return { names, values }
    },
  }
}

function textOf({ names, values }: HeaderList): string {
  let text = ''
  for (let index = 0; index < names.length; index++) text += `${names[index]}: ${values[index]}\r\n`
  return text
}
