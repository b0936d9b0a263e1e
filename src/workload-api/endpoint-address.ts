/** Where a Workload API is, as `SPIFFE_ENDPOINT_SOCKET` says it (SPIFFE_Workload_Endpoint §4). */
import { isIP } from 'node:net'
import { PosternError } from '#base/errors'
import { type Address, isLoopback } from '#base/units'

/**
 * `unix:` with an absolute path and nothing else, or `tcp:` with an address and a port and nothing else.
 * @throws PosternError ERR_WORKLOAD_API_ENDPOINT
 */
export function parseEndpointAddress(text: string): Address {
  const wrong = (why: string): PosternError =>
    new PosternError('ERR_WORKLOAD_API_ENDPOINT', `\`${text}\` does not say where the Workload API is: ${why}.`)
  const [, scheme, rest = ''] = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s.exec(text) ?? []
  if (scheme === undefined) throw wrong('it is not a URI, such as `unix:///run/spire/agent.sock`')
  if (/[?#]/.test(rest)) throw wrong('it has a query or a fragment')
  switch (scheme.toLowerCase()) {
    case 'unix':
      return { kind: 'unix', path: pathOf(rest, wrong) }
    case 'tcp':
      return hostOf(rest, wrong)
    default:
      throw wrong('its scheme is neither `unix` nor `tcp`')
  }
}

function pathOf(rest: string, wrong: (why: string) => PosternError): string {
  const path = rest.startsWith('///') ? rest.slice(2) : rest
  if (path.startsWith('//')) throw wrong('there is an authority between `unix://` and the path; write three slashes')
  if (!path.startsWith('/') || path === '/') throw wrong('the path is not absolute')
  let decoded: string
  try {
    decoded = decodeURIComponent(path)
  } catch {
    throw wrong('the path has a `%` that begins no escape')
  }
  if (decoded.includes('\0')) throw wrong('the path has a NUL')
  return decoded
}

function hostOf(rest: string, wrong: (why: string) => PosternError): Address {
  const [, v6, v4, digits] = /^\/\/(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(rest) ?? []
  const host = v6 ?? v4 ?? ''
  const port = Number(digits)
  if (isIP(host) === 0 || !(port >= 1 && port <= 65_535)) throw wrong('after `tcp://` comes an IP address, a port and nothing else')
  const address = { kind: 'tcp', host, port } as const
  // Private keys would cross the network in the clear, and whoever answers would say who we are.
  if (!isLoopback(address)) throw wrong('its address is not loopback, and the Workload API has no TLS')
  return address
}
