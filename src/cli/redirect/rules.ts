/**
 * What the kernel is told so that a pod's traffic passes through its sidecar, in the two languages that it takes: nftables, and iptables'.
 *
 *   to us        tcp to a guarded port ──▶ the sidecar's listener for it
 *   from the app all tcp but the sidecar's own, loopback, DNS and what is excluded ──▶ the sidecar's outbound listener
 */

export interface Redirection {
  /** The app's port, and the sidecar's port that takes its place. */
  readonly inbound: readonly (readonly [app: number, sidecar: number])[]
  /** The sidecar's port for the app's calls; undefined leaves them alone. */
  readonly outbound: number | undefined
  /** Whose traffic is the sidecar's own. */
  readonly uid: number
  /** Ports and networks (`10.0.0.1/32`, `fd00::/8`) that are called directly. DNS always is. */
  readonly excludedPorts: readonly number[]
  readonly excludedNetworks: readonly string[]
}

const DNS = 53

/** One transaction that replaces what an earlier run made: for `nft -f -`. */
export function nftRules({ inbound, outbound, uid, excludedPorts, excludedNetworks }: Redirection): string {
  const lines = ['add table inet postern', 'delete table inet postern', 'table inet postern {']
  if (inbound.length > 0) {
    lines.push('  chain inbound {', '    type nat hook prerouting priority dstnat; policy accept;')
    for (const [app, sidecar] of inbound) lines.push(`    tcp dport ${app} redirect to :${sidecar}`)
    lines.push('  }')
  }
  if (outbound !== undefined) {
    lines.push('  chain outbound {', '    type nat hook output priority -100; policy accept;')
    lines.push(`    meta skuid ${uid} return`, '    oifname "lo" return')
    lines.push(`    tcp dport { ${[DNS, ...excludedPorts].join(', ')} } return`)
    for (const network of excludedNetworks) lines.push(`    ${network.includes(':') ? 'ip6' : 'ip'} daddr ${network} return`)
    lines.push(`    meta l4proto tcp redirect to :${outbound}`, '  }')
  }
  return `${[...lines, '}'].join('\n')}\n`
}

/** For nothing but the table of that name. */
export const NFT_REMOVAL = 'add table inet postern\ndelete table inet postern\n'

export const CHAINS = { inbound: 'POSTERN_IN', outbound: 'POSTERN_OUT' } as const

/** Our two chains, emptied and filled anew: for `iptables-restore --noflush`. The jumps to them are made apart, see `JUMPS`. */
export function iptablesRules(redirection: Redirection, family: 4 | 6): string {
  const { inbound, outbound, uid, excludedPorts, excludedNetworks } = redirection
  const lines = ['*nat', `:${CHAINS.inbound} - [0:0]`, `:${CHAINS.outbound} - [0:0]`]
  for (const [app, sidecar] of inbound) lines.push(`-A ${CHAINS.inbound} -p tcp --dport ${app} -j REDIRECT --to-ports ${sidecar}`)
  if (outbound !== undefined) {
    lines.push(`-A ${CHAINS.outbound} -m owner --uid-owner ${uid} -j RETURN`, `-A ${CHAINS.outbound} -o lo -j RETURN`)
    for (const port of [DNS, ...excludedPorts]) lines.push(`-A ${CHAINS.outbound} -p tcp --dport ${port} -j RETURN`)
    for (const network of excludedNetworks) {
      if (network.includes(':') === (family === 6)) lines.push(`-A ${CHAINS.outbound} -d ${network} -j RETURN`)
    }
    lines.push(`-A ${CHAINS.outbound} -p tcp -j REDIRECT --to-ports ${outbound}`)
  }
  return `${[...lines, 'COMMIT'].join('\n')}\n`
}

/** Each as the arguments behind `-A`, `-C` or `-D`. */
export const JUMPS: readonly (readonly string[])[] = [
  ['PREROUTING', '-p', 'tcp', '-j', CHAINS.inbound],
  ['OUTPUT', '-p', 'tcp', '-j', CHAINS.outbound],
]
