/** The authority of a request: `host[:port]` (RFC 3986 §3.2.2, §3.2.3), and the one spelling of its host that policy compares. */
import { HEX_VALUE, UNRESERVED } from './characters.ts'

const MAX_LENGTH = 255 + 6

/** Nearly all authorities. A pattern, because values are slices of a head, whose characters are slow to get one by one. */
const ORDINARY = /^[A-Za-z0-9._-]{1,255}(?::\d{1,4})?$/
/** A label of a name that is empty; the one behind a single dot at the end aside. */
const EMPTY_LABEL = /^\.|\.\./
const NOT_NORMAL = /[A-Z:]|\.$/

/**
 * A host with an optional port, without userinfo. Percent-encoded hosts are refused although RFC 3986 has them: no name in
 * use needs them, and `%61.example` would be a second spelling of `a.example` that no policy names. So would `a.example..` be to whoever drops
 * all dots at the end: names with empty labels are refused.
 */
export function isValidAuthority(text: string): boolean {
  if (EMPTY_LABEL.test(text)) return false
  if (ORDINARY.test(text)) return true
  if (text.length === 0 || text.length > MAX_LENGTH) return false
  const end = text.charCodeAt(0) === 0x5b ? endOfIpv6(text) : endOfName(text)
  return end > 0 && isPort(text, end)
}

/** Lower-case, port and one trailing dot removed, brackets of IPv6 kept. The same string if it is that already. */
export function normaliseHost(authority: string): string {
  if (!NOT_NORMAL.test(authority)) return authority
  let end = authority.length
  let upper = false
  for (let index = 0; index < authority.length; index++) {
    const code = authority.charCodeAt(index)
    if (code >= 0x41 && code <= 0x5a) upper = true
    else if (code === 0x5d) end = index + 1
    // The first colon outside of brackets ends the host; inside, the closing bracket that follows corrects it.
    else if (code === 0x3a && end === authority.length) end = index
  }
  if (end > 0 && authority.charCodeAt(end - 1) === 0x2e) end--
  const host = end === authority.length ? authority : authority.slice(0, end)
  return upper ? host.toLowerCase() : host
}

function endOfName(text: string): number {
  let index = 0
  for (; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === 0x3a) break
    if (UNRESERVED[code] !== 1 && !SUB_DELIMITERS.includes(text.charAt(index))) return -1
  }
  return index
}

const SUB_DELIMITERS = "!$&'()*+,;="

function isPort(text: string, start: number): boolean {
  if (start === text.length) return true
  if (text.charCodeAt(start) !== 0x3a || text.length - start > 6) return false
  let port = 0
  for (let index = start + 1; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 0x30
    if (digit < 0 || digit > 9) return false
    port = port * 10 + digit
  }
  return port <= 65_535
}

/** Index after the closing bracket of an IPv6 address without zone; -1 if it is none. */
function endOfIpv6(text: string): number {
  const close = text.indexOf(']')
  if (close === -1) return -1
  const halves = text.slice(1, close).split('::')
  if (halves.length > 2) return -1
  let groups = 0
  for (const [half, part] of halves.entries()) {
    if (part === '') {
      if (halves.length === 1) return -1
      continue
    }
    const pieces = part.split(':')
    for (const [index, piece] of pieces.entries()) {
      const last = half === halves.length - 1 && index === pieces.length - 1
      if (isHexGroup(piece)) groups += 1
      else if (last && isIpv4(piece)) groups += 2
      else return -1
    }
  }
  const complete = halves.length === 2 ? groups <= 7 : groups === 8
  return complete ? close + 1 : -1
}

function isHexGroup(text: string): boolean {
  if (text.length === 0 || text.length > 4) return false
  for (let index = 0; index < text.length; index++) {
    if ((HEX_VALUE[text.charCodeAt(index)] ?? 255) === 255) return false
  }
  return true
}

function isIpv4(text: string): boolean {
  return /^(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(text)
}
