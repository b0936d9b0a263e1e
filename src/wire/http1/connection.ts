/** Reads the Connection header (RFC 9110 §7.6.1, RFC 9112 §9.3). */
import { type Refusal, refusal } from '#base/result'
import { isToken } from '#http/characters'

export interface ConnectionOptions {
  readonly ok: true
  readonly close: boolean
  readonly upgrade: boolean
  /** Lower-case names of the headers that end here; undefined if there are none. */
  readonly hopByHop: readonly string[] | undefined
}

const NONE: ConnectionOptions = { ok: true, close: false, upgrade: false, hopByHop: undefined }
const CLOSE: ConnectionOptions = { ok: true, close: true, upgrade: false, hopByHop: undefined }

/** Taking these away between the decision and the app would change who is asked, or how long the body is. */
const NEVER_HOP_BY_HOP: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding'])

/** @param value of all Connection lines, joined by commas */
export function readConnection(value: string | undefined): ConnectionOptions | Refusal {
  if (value === undefined || value === 'keep-alive' || value === 'Keep-Alive') return NONE
  if (value === 'close') return CLOSE
  let close = false
  let upgrade = false
  const hopByHop: string[] = []
  for (const element of value.split(',')) {
    const option = element.trim().toLowerCase()
    if (option === '' || option === 'keep-alive') continue
    if (option === 'close') close = true
    else if (option === 'upgrade') upgrade = true
    else if (!isToken(option) || NEVER_HOP_BY_HOP.has(option)) return refusal('ERR_HTTP_CONNECTION')
    else hopByHop.push(option)
  }
  return { ok: true, close, upgrade, hopByHop: hopByHop.length === 0 ? undefined : hopByHop }
}
