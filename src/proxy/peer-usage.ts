/** What each identity has open at a listener, so that no one caller takes all there is. */

export interface PeerUse {
  connections: number
  /** HTTP/2 requests that were forwarded and have not ended. */
  streams: number
}

export interface PeerUsage {
  /** @param peer SPIFFE ID @returns false if it has `most` already; then nothing is counted */
  connectionOpened(peer: string, most: number): boolean
  connectionClosed(peer: string): void
  /** The same object for as long as the peer has a connection. */
  of(peer: string): PeerUse
}

export function createPeerUsage(): PeerUsage {
  const uses = new Map<string, PeerUse>()

  function of(peer: string): PeerUse {
    const known = uses.get(peer)
    if (known !== undefined) return known
    const use = { connections: 0, streams: 0 }
    uses.set(peer, use)
    return use
  }

  return {
    of,
    connectionOpened(peer, most) {
      const use = of(peer)
      if (use.connections >= most) return false
      use.connections++
      return true
    },
    connectionClosed(peer) {
      if (--of(peer).connections === 0) uses.delete(peer)
    },
  }
}
