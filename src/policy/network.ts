/** IP addresses and networks (RFC 4291 §2.2, RFC 4632 §3.1), IPv4-mapped ones as the IPv4 they are. */

/** 128 bits as four unsigned words. IPv4 sits in the last word and the others are 0. */
export interface IpAddress {
  readonly version: 4 | 6
  readonly words: readonly [number, number, number, number]
}

export interface Network {
  readonly address: IpAddress
  /** 0 to 32, or 0 to 128. */
  readonly prefix: number
}

/** Strict: decimal without leading zeros, at most one `::`. A zone (`%eth0`) is dropped. Undefined if it is no address. */
export function parseIp(text: string): IpAddress | undefined {
  const zone = text.indexOf('%')
  const bare = zone === -1 ? text : text.slice(0, zone)
  if (!bare.includes(':')) {
    const word = zone === -1 ? parseIpv4(bare) : undefined
    return word === undefined ? undefined : { version: 4, words: [0, 0, 0, word] }
  }
  const groups = parseGroups(bare)
  if (groups === undefined) return undefined
  const word = (index: number): number => (((groups[index] ?? 0) << 16) | (groups[index + 1] ?? 0)) >>> 0
  const words = [word(0), word(2), word(4), word(6)] as const
  const mapped = words[0] === 0 && words[1] === 0 && words[2] === 0xffff
  return mapped ? { version: 4, words: [0, 0, 0, words[3]] } : { version: 6, words }
}

function parseIpv4(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let word = 0
  for (const part of parts) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    word = word * 256 + Number(part)
  }
  return word
}

/** The eight 16-bit groups of an IPv6 address. */
function parseGroups(text: string): number[] | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head = '', tail = ''] = halves
  const left = halves.length === 1 || head !== '' ? parseHalf(head, halves.length === 1) : []
  const right = tail !== '' ? parseHalf(tail, true) : []
  if (left === undefined || right === undefined) return undefined
  if (halves.length === 1) return left.length === 8 ? left : undefined
  const zeros = 8 - left.length - right.length
  return zeros < 1 ? undefined : [...left, ...Array.from({ length: zeros }, () => 0), ...right]
}

function parseHalf(text: string, mayEndInIpv4: boolean): number[] | undefined {
  const groups: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (/^[0-9A-Fa-f]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16))
      continue
    }
    const word = mayEndInIpv4 && index === parts.length - 1 ? parseIpv4(part) : undefined
    if (word === undefined) return undefined
    groups.push(word >>> 16, word & 0xffff)
  }
  return groups
}

/** `10.0.0.0/8`, `2001:db8::/32`, or one address. Host bits are kept; see `networkOf`. */
export function parseNetwork(text: string): Network | undefined {
  const match = /^([^/%]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text)
  const address = match === null ? undefined : parseIp(match[1] ?? '')
  if (match === null || address === undefined) return undefined
  const written = match[1]?.includes(':') === true ? 128 : 32
  const given = match[2] === undefined ? written : Number(match[2])
  if (given > written) return undefined
  const prefix = given - (written === 128 && address.version === 4 ? 96 : 0)
  return prefix < 0 ? undefined : { address, prefix }
}

/** The network without the bits behind its prefix. */
export function networkOf(network: Network): Network {
  const { address, prefix } = network
  const words = address.words.map((word, index) => (word & maskOf(address.version, prefix, index)) >>> 0)
  return { address: { version: address.version, words: [words[0] ?? 0, words[1] ?? 0, words[2] ?? 0, words[3] ?? 0] }, prefix }
}

function maskOf(version: 4 | 6, prefix: number, word: number): number {
  const bits = Math.min(32, Math.max(0, (version === 4 ? prefix + 96 : prefix) - word * 32))
  return bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0
}

/** Whether an address lies in a network; never across versions. */
export function contains(network: Network, address: IpAddress): boolean {
  const { version, words } = network.address
  if (version !== address.version) return false
  for (let index = version === 4 ? 3 : 0; index < 4; index++) {
    const mask = maskOf(version, network.prefix, index)
    if (((words[index] ?? 0) & mask) !== ((address.words[index] ?? 0) & mask)) return false
  }
  return true
}

/** `10.0.0.0/8`, `2001:db8::/32`. */
export function formatNetwork({ address, prefix }: Network): string {
  if (address.version === 4) {
    const word = address.words[3]
    return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}/${prefix}`
  }
  return `${compress(address.words.flatMap((word) => [word >>> 16, word & 0xffff]))}/${prefix}`
}

/** RFC 5952 §4.2: the longest run of at least two zero groups becomes `::`. */
function compress(groups: readonly number[]): string {
  let start = -1
  let length = 1
  for (let index = 0; index < groups.length; index++) {
    let end = index
    while (groups[end] === 0) end++
    if (end - index > length) {
      start = index
      length = end - index
    }
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  return start === -1 ? text(groups) : `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`
}
