/** Readers of single values: words, numbers, spans, sizes, addresses, paths, SPIFFE IDs. */
import { resolve } from 'node:path'
import type { LocatedValue } from '#base/located'
import { nearest } from '#base/suggest'
import { type Address, isLoopback, parseAddress, parseSize, parseSpan, type TcpAddress } from '#base/units'
import { isTrustDomain, parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { complain, type Place, type Reader, refuseValue } from './reader.ts'

/** What Linux takes as the path of a Unix socket (sockaddr_un, less the final NUL). */
const MAX_SOCKET_PATH = 107

function textOf(value: LocatedValue): string | undefined {
  return value.kind === 'scalar' && typeof value.value === 'string' ? value.value : undefined
}

/** A string that `pattern` takes whole. `form` describes it, with its article. */
export function text(form: string, pattern = /^[^\0]+$/u): Reader<string> {
  return {
    read(value, place) {
      const found = textOf(value)
      if (found !== undefined && pattern.test(found)) return found
      const scalar = value.kind === 'scalar' && (typeof value.value === 'number' || typeof value.value === 'boolean')
      return refuseValue(place, value, form, scalar ? `"${value.value}"` : undefined)
    },
  }
}

/** One of `words`. */
export function word<const W extends string>(words: readonly W[]): Reader<W> {
  const form = words.length === 1 ? `\`${words[0]}\`` : `one of ${words.map((one) => `\`${one}\``).join(', ')}`
  return {
    read(value, place) {
      const found = textOf(value)
      const known = words.find((one) => one === found)
      if (known !== undefined) return known
      return refuseValue(place, value, form, found === undefined ? undefined : nearest(found, words))
    },
  }
}

export const flag: Reader<boolean> = {
  read(value, place) {
    if (value.kind === 'scalar' && typeof value.value === 'boolean') return value.value
    const found = textOf(value)?.toLowerCase() ?? ''
    return refuseValue(
      place,
      value,
      '`true` or `false`',
      /^(?:yes|on|y)$/.test(found) ? 'true' : /^(?:no|off|n)$/.test(found) ? 'false' : undefined,
    )
  },
}

export function integer(min: number, max: number): Reader<number> {
  return {
    read(value, place) {
      const found = value.kind === 'scalar' ? value.value : undefined
      if (typeof found === 'number' && Number.isInteger(found) && found >= min && found <= max) return found
      return refuseValue(place, value, `a whole number from ${min} to ${max}`)
    },
  }
}

export const share: Reader<number> = {
  read(value, place) {
    const found = value.kind === 'scalar' ? value.value : undefined
    return typeof found === 'number' && found >= 0 && found <= 1 ? found : refuseValue(place, value, 'a number from 0 to 1')
  },
}

/** `90s` `10m` → ms. `min` and `max` as documents write them. */
export function span(min: string, max: string): Reader<number> {
  const form = `a time span from ${min} to ${max}, such as \`250ms\`, \`90s\`, \`10m\` or \`1h\``
  return quantity(parseSpan, min, max, form, 's')
}

/** `64KiB` → bytes. */
export function size(min: string, max: string): Reader<number> {
  return quantity(parseSize, min, max, `a size from ${min} to ${max}, such as \`64KiB\``, 'B')
}

function quantity(parse: (text: string) => number | undefined, min: string, max: string, form: string, unit: string): Reader<number> {
  const least = parse(min) ?? 0
  const most = parse(max) ?? 0
  return {
    read(value, place) {
      const found = parse(textOf(value) ?? '')
      if (found !== undefined && found >= least && found <= most) return found
      const bare = value.kind === 'scalar' && typeof value.value === 'number' && Number.isInteger(value.value) ? value.value : undefined
      return refuseValue(place, value, form, bare === undefined || bare < 0 ? undefined : `${bare}${unit}`)
    },
  }
}

/** Where something listens or is called: `host:port`, `[v6]:port` or `unix:path`. Relative socket paths are made absolute. */
export function address(): Reader<Address> {
  return { read: readAddress }
}

function readAddress(value: LocatedValue, place: Place): Address | undefined {
  const found = textOf(value)
  const parsed = found === undefined ? undefined : parseAddress(found)
  if (parsed === undefined) return refuseValue(place, value, 'an address: `host:port`, `[v6]:port` or `unix:/path`')
  if (parsed.kind === 'tcp') return parsed
  const path = resolve(place.folder, parsed.path)
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    const message = `\`${place.path}\`: the socket's path \`${path}\` is longer than the ${MAX_SOCKET_PATH} bytes that the system takes; choose a shorter one.`
    return complain(place, value.at, 'ERR_CONFIG_VALUE', message)
  }
  return { kind: 'unix', path }
}

/** An address to listen on over TCP; port 0 lets the system choose. */
export const tcpListen: Reader<TcpAddress> = {
  read(value, place) {
    const found = readAddress(value, place)
    if (found === undefined || found.kind === 'tcp') return found
    return refuseValue(place, value, 'a TCP address: `host:port` or `[v6]:port`')
  },
}

/** A TCP address to call: with a port. */
export const tcpTarget: Reader<TcpAddress> = {
  read(value, place) {
    const found = readAddress(value, place)
    if (found === undefined || (found.kind === 'tcp' && found.port > 0)) return found
    return refuseValue(place, value, 'a TCP address with a port from 1 to 65535')
  },
}

/** An address that only this host can reach. `why` ends the sentence. */
export function localAddress(why: string): Reader<Address> {
  return {
    read(value, place) {
      const found = readAddress(value, place)
      if (found === undefined || isLoopback(found)) return found
      return complain(
        place,
        value.at,
        'ERR_CONFIG_UNSAFE',
        `\`${place.path}\` must be loopback or a Unix socket, not \`${textOf(value)}\`: ${why}.`,
      )
    },
  }
}

/** A reader's value, or `off`. */
export function orOff<T>(reader: Reader<T>): Reader<T | 'off'> {
  return { read: (value, place) => (textOf(value) === 'off' ? 'off' : reader.read(value, place)) }
}

/** The path of a file or folder, made absolute. */
export const filePath: Reader<string> = {
  read(value, place) {
    const found = text('the path of a file or folder').read(value, place)
    return found === undefined ? undefined : resolve(place.folder, found)
  },
}

/** A SPIFFE ID of a workload: with a path. */
export const spiffeId: Reader<SpiffeId> = {
  read(value, place) {
    const found = textOf(value)
    if (found === undefined) return refuseValue(place, value, 'a SPIFFE ID, such as `spiffe://example.org/ns/shop/sa/cart`')
    const parsed = parseSpiffeId(found)
    if (!parsed.ok)
      return complain(place, value.at, 'ERR_CONFIG_VALUE', `\`${place.path}\`: \`${found}\` is no SPIFFE ID: ${parsed.detail}.`)
    if (parsed.value.path === '') {
      return complain(
        place,
        value.at,
        'ERR_CONFIG_VALUE',
        `\`${place.path}\`: \`${found}\` is the ID of a trust domain; a workload's has a path.`,
      )
    }
    return parsed.value
  },
}

/** `example.org`: the name of a trust domain, without a scheme. */
export const trustDomainName: Reader<string> = {
  read(value, place) {
    const found = textOf(value)
    if (found !== undefined && isTrustDomain(found)) return found
    const bare =
      found
        ?.replace(/^spiffe:\/\//i, '')
        .split('/')[0]
        ?.toLowerCase() ?? ''
    return refuseValue(place, value, 'the name of a trust domain, such as `example.org`', isTrustDomain(bare) ? bare : undefined)
  },
}
