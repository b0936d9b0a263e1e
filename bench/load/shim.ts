/** What the library preloaded into a load generator counted. */

/** @returns the number of handshakes @throws when one was resumed or made without the caller's certificate */
export function parseShim(counts: string): number {
  const shim = /^handshakes=(\d+) presented=(\d+) resumed=(\d+)$/m.exec(counts)
  if (shim === null) throw new Error(`the load generator failed: ${counts.trim()}`)
  const [handshakes = 0, presented = 0, resumed = 0] = shim.slice(1).map(Number)
  if (resumed > 0) throw new Error(`${resumed} of ${handshakes} TLS sessions were resumed; the servers must not offer that.`)
  if (presented < handshakes) throw new Error(`Only ${presented} of ${handshakes} handshakes presented a client certificate.`)
  return handshakes
}
