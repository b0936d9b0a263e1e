/** The headers by which the app learns of one request what its connection does not say: the principal of its token, and the signed assertion. */
import type { ConnectionOrigin } from '#audit/event'
import { addHeader, createHeaderList, type HeaderList } from '#http/header-list'
import type { TokenPrincipal } from '#identity/peer'
import type { InboundListenerState } from './inbound-state.ts'
import type { Decidable } from './request-path.ts'

/** Undefined where there is nothing to say, which costs nothing. @param path canonical, as it is forwarded */
export function callerFields(
  { settings, assertions, clock }: InboundListenerState,
  { peer }: ConnectionOrigin,
  { token, request, requestId, host }: Decidable,
  path: string,
): HeaderList | undefined {
  const { assertion } = settings.config
  if (token === undefined && assertion === undefined) return undefined
  const fields = createHeaderList()
  if (token !== undefined) addHeader(fields, 'x-postern-token-principal', tokenPrincipal(token))
  if (assertion !== undefined) {
    const own = settings.own.identity.id.uri
    const bound = assertion.bindRequest ? { id: requestId, method: request.method, host, path } : undefined
    addHeader(fields, 'x-postern-assertion', assertions.assert({ peer, token }, own, assertion.audience ?? own, clock.now(), bound))
  }
  return fields
}

/** `issuer|subject`. No issuer has a `|`; of a subject, whatever is not visible ASCII is percent-encoded, and `%` with it. */
export function tokenPrincipal({ issuer, subject }: TokenPrincipal): string {
  return `${issuer}|${/^[!-$&-~]*$/.test(subject) ? subject : subject.toWellFormed().replace(/[^!-$&-~]/gu, encodeURIComponent)}`
}

/** Each with its line end. */
export function fieldsText(fields: HeaderList | undefined): string {
  if (fields === undefined) return ''
  return fields.names.map((name, index) => `${name}: ${fields.values[index]}\r\n`).join('')
}
