/**
 * The scripts that bring up the node of `test/support/cluster.ts`, as they are, or changed for what they have no option for: both families of IP, a
 * kubelet that renews certificates within minutes.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { KUBE_SOURCES } from '../../scripts/kube-node.ts'

export interface NodeVariant {
  /** Nodes, pods and Services have IPv6 addresses too. */
  readonly dualStack?: boolean
  /** The kubelet is told that certificates of pods are to be renewed as soon as it has them (`refresh-sooner.ts`), and looks at its volumes often. */
  readonly refreshSooner?: boolean
  /** APIs that are served besides: `certificates.k8s.io/v1beta1=true`. */
  readonly runtime?: string
}

type Edit = readonly [script: 'node-up.sh' | 'start.sh', found: string, becomes: string]

const IPV6 = { node: 'fd00:99::1', pods: 'fd00:98::/64', services: 'fd00:10::/112' } as const

const DUAL_STACK: readonly Edit[] = [
  [
    'node-up.sh',
    '  ip link set node0 up\n',
    `  ip link set node0 up
  ip -6 addr add ${IPV6.node}/64 dev node0 nodad
  ip -6 route add ${IPV6.services} dev node0
  echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
  echo 1 > /proc/sys/net/bridge/bridge-nf-call-ip6tables
`,
  ],
  [
    'node-up.sh',
    '"ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]',
    `"ranges": [[{"subnet": "$PODS"}], [{"subnet": "${IPV6.pods}"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]`,
  ],
  ['node-up.sh', '--node-ip="$NODE_IP"', `--node-ip="$NODE_IP,${IPV6.node}"`],
  ['node-up.sh', 'clusterCIDR: $PODS', `clusterCIDR: $PODS,${IPV6.pods}`],
  ['start.sh', '--service-cluster-ip-range=10.0.0.0/24', `--service-cluster-ip-range=10.0.0.0/24,${IPV6.services}`],
]

const BETWEEN = { program: join(import.meta.dirname, 'refresh-sooner.ts'), port: 6440 } as const

const REFRESH_SOONER: readonly Edit[] = [
  [
    'node-up.sh',
    'run kubelet "$BIN/kubelet"',
    `sed 's|https://127.0.0.1:[0-9]*|https://127.0.0.1:${BETWEEN.port}|' "$pki/node.kubeconfig" > "$pki/kubelet.kubeconfig"
run between "${process.execPath}" "${BETWEEN.program}" "$pki" ${BETWEEN.port}
run kubelet "$BIN/kubelet"`,
  ],
  ['node-up.sh', '--kubeconfig="$pki/node.kubeconfig"', '--kubeconfig="$pki/kubelet.kubeconfig"'],
  // What stands between reads what passes.
  ['node-up.sh', 'kind: KubeletConfiguration\n', 'kind: KubeletConfiguration\ncontentType: application/json\nsyncFrequency: 5s\n'],
]

/** @returns the folder of the scripts, below `dir` where they differ from those that are there */
export function nodeScripts(dir: string, { dualStack = false, refreshSooner = false }: NodeVariant): string {
  const edits = [...(dualStack ? DUAL_STACK : []), ...(refreshSooner ? REFRESH_SOONER : [])]
  if (edits.length === 0) return KUBE_SOURCES
  const folder = join(dir, 'scripts')
  cpSync(KUBE_SOURCES, folder, { recursive: true })
  for (const [script, found, becomes] of edits) {
    const path = join(folder, script)
    const text = readFileSync(path, 'utf8')
    if (!text.includes(found))
      throw new Error(`${script} has no \`${found}\`: the variants of the node were made for another version of it.`)
    writeFileSync(
      path,
      text.replace(found, () => becomes),
    )
  }
  return folder
}
