/** Where keys may not be fetched from: link-local addresses, behind which clouds keep credentials, and what is no host at all. */
import { lookup as dnsLookup, type LookupAddress } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'

const forbidden = new BlockList()
// Link-local (RFC 3927, RFC 4291 §2.5.6), which holds the metadata services of clouds.
forbidden.addSubnet('169.254.0.0', 16, 'ipv4')
forbidden.addSubnet('fe80::', 10, 'ipv6')
// The same through NAT64 (RFC 6052), and what Amazon gives its metadata service on IPv6.
forbidden.addSubnet('64:ff9b::a9fe:0', 112, 'ipv6')
forbidden.addAddress('fd00:ec2::254', 'ipv6')
// "This host", multicast, broadcast.
forbidden.addSubnet('0.0.0.0', 8, 'ipv4')
forbidden.addAddress('::', 'ipv6')
forbidden.addSubnet('224.0.0.0', 3, 'ipv4')
forbidden.addSubnet('ff00::', 8, 'ipv6')

const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost']

/** Why an address is not fetched from; undefined if it may be. Plain HTTP is for loopback alone: on a network keys could be exchanged. */
export function urlFault(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null) return 'it is not a URL'
  if (url.username !== '' || url.password !== '') return 'it holds credentials'
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.includes(url.hostname))) return 'it is not https'
  return isForbiddenAddress(url.hostname) ? `${url.hostname} is link-local, or no host` : undefined
}

/** What errors of `guardedLookup` have as their code. */
export const FORBIDDEN_ADDRESS = 'ERR_JWKS_ADDRESS'

/** @param address an IP address, brackets of IPv6 allowed; names are for `guardedLookup` to judge */
export function isForbiddenAddress(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '')
  const family = isIP(bare)
  return family !== 0 && forbidden.check(bare, family === 6 ? 'ipv6' : 'ipv4')
}

/**
 * For `connect`: the addresses that it is given are the ones that were judged, so a name cannot mean something else a moment later. A name
 * that means a forbidden address beside others means none.
 */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error !== null) return callback(error, '', 0)
    const wrong = addresses.find(({ address }) => isForbiddenAddress(address))
    if (wrong !== undefined) {
      const refused = Object.assign(new Error(`${hostname} is ${wrong.address}`), { code: FORBIDDEN_ADDRESS })
      return callback(refused, '', 0)
    }
    if (options.all === true) return callback(null, addresses)
    const [first] = addresses
    callback(null, first?.address ?? '', first?.family ?? 0)
  })
}
