/** Time spans, sizes and addresses as documents and options write them. */

const SPANS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const SIZES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

/** `90s` `10m` `1h` `7d` `250ms` → milliseconds; undefined if it is none. */
export function parseSpan(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text)
  return match === null ? undefined : Number(match[1]) * (SPANS[match[2] ?? ''] ?? 0)
}

/** `512B` `64KiB` `1MiB` `2GiB` → bytes; undefined if it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text)
  return match === null ? undefined : Number(match[1]) * (SIZES[match[2] ?? ''] ?? 0)
}

export interface TcpAddress {
  readonly kind: 'tcp'
  /** Without brackets. */
  readonly host: string
  readonly port: number
}

export interface UnixAddress {
  readonly kind: 'unix'
  readonly path: string
}

export type Address = TcpAddress | UnixAddress

/** `host:port`, `[v6]:port` or `unix:/path`; undefined if it is none. Port 0 is allowed: the system picks one. */
export function parseAddress(text: string): Address | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice(5).replace(/^\/\/(?=\/)/, '')
    return path === '' || path.includes('\0') ? undefined : { kind: 'unix', path }
  }
  const match = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const port = Number(match[3])
  return port > 65_535 ? undefined : { kind: 'tcp', host: match[1] ?? match[2] ?? '', port }
}

/** The inverse of `parseAddress`. */
export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** 127.0.0.0/8, ::1, localhost, or a Unix socket. */
export function isLoopback(address: Address): boolean {
  if (address.kind === 'unix') return true
  return /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|::ffff:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost)$/i.test(address.host)
}
