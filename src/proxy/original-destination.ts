/**
 * Where a connection was going before the kernel redirected it to us: SO_ORIGINAL_DST of Linux' netfilter (`linux/netfilter_ipv4.h`), which
 * Node does not offer. Asked by `node:ffi`, some 10 µs a connection.
 */
import type { Socket } from 'node:net'
import { PosternError } from '#base/errors'

export interface OriginalDestination {
  /** An address as Node writes it; IPv4 is never written as mapped IPv6. */
  readonly host: string
  readonly port: number
}

/** Undefined for a connection that was not redirected, or is gone. */
export type ReadOriginalDestination = (socket: Socket) => OriginalDestination | undefined

const SOL_IP = 0
const SOL_IPV6 = 41
/** The same number in both (`IP6T_SO_ORIGINAL_DST`). */
const SO_ORIGINAL_DST = 80
const SOCKADDR_IN = 16
const SOCKADDR_IN6 = 28

/** @throws PosternError ERR_REDIRECT_UNSUPPORTED where the system has no such thing */
export async function loadOriginalDestination(platform: string = process.platform): Promise<ReadOriginalDestination> {
  if (platform !== 'linux') {
    throw new PosternError('ERR_REDIRECT_UNSUPPORTED', `Redirected connections are a matter of Linux, and this is ${platform}.`)
  }
  const { DynamicLibrary } = await import('node:ffi')
  const getsockopt = new DynamicLibrary(null).getFunction('getsockopt', {
    return: 'int32',
    arguments: ['int32', 'int32', 'int32', 'buffer', 'buffer'],
  })
  const address = Buffer.alloc(SOCKADDR_IN6)
  const length = Buffer.alloc(4)

  function ask(fd: number, level: number, size: number): boolean {
    length.writeInt32LE(size)
    return getsockopt(fd, level, SO_ORIGINAL_DST, address, length) === 0
  }

  return (socket) => {
    const fd = descriptorOf(socket)
    if (fd === undefined) return undefined
    const mapped = socket.localAddress?.startsWith('::ffff:') === true
    const asked = socket.localFamily === 'IPv4' || mapped
    if (!ask(fd, asked ? SOL_IP : SOL_IPV6, asked ? SOCKADDR_IN : SOCKADDR_IN6)) return undefined
    // Both kinds of sockaddr: family in the machine's order, then the port in the network's.
    const port = address.readUInt16BE(2)
    const host = asked ? [...address.subarray(4, 8)].join('.') : ipv6Text(address.subarray(8, 24))
    // What was not redirected has itself for its destination.
    return port === socket.localPort && host === plain(socket.localAddress) ? undefined : { host, port }
  }
}

/** Node keeps it to itself: there is no documented way to a connection's descriptor. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null }
  const fd = handle?.fd
  return fd === undefined || fd < 0 ? undefined : fd
}

function plain(address: string | undefined): string | undefined {
  return address?.startsWith('::ffff:') === true ? address.slice(7) : address
}

/** As the kernel and Node write it (RFC 5952). */
function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16))
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
}
