/** `postern redirect`: sends a pod's traffic through its sidecar; what an injected init container runs. */
import { isIP } from 'node:net'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { applyRedirection, findTool, type Tool } from './redirect/apply.ts'
import { iptablesRules, JUMPS, nftRules, type Redirection } from './redirect/rules.ts'

export const redirectCommand: Command = {
  summary: 'sends the traffic of a pod (a network namespace) through its sidecar',
  help: `postern redirect: sends the traffic of a pod (a network namespace) through its sidecar

Usage: postern redirect [--inbound APP=SIDECAR,…] [--outbound PORT] [options]

  --inbound APP=SIDECAR,…   tcp to port APP goes to the sidecar's port SIDECAR
  --outbound PORT           the app's own tcp connections go to the sidecar's port PORT
  --uid UID                 whose connections are left alone: the sidecar's. Default 1337
  --exclude-ports PORT,…    ports that the app calls directly; 53 always is
  --exclude-networks NET,…  networks that it calls directly: 10.0.0.1/32,fd00::/8
  --tool nft|iptables       Default: whichever is there, nft first
  --dry-run                 prints the rules and changes nothing
  --remove                  takes away what an earlier run made

Needs root and NET_ADMIN (iptables-legacy NET_RAW too). Running it again replaces what it made before; nothing else is touched.
Loopback traffic is never redirected. Exit status: 0 done, 2 wrong usage, or the kernel refused.

Example:
  postern redirect --inbound 8080=7443 --outbound 7001 --exclude-networks 10.96.0.1/32
`,
  run: redirect,
}

function redirect(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values } = parseArguments(args, {
    inbound: { type: 'string', multiple: true, default: [] },
    outbound: { type: 'string' },
    uid: { type: 'string', default: '1337' },
    'exclude-ports': { type: 'string', multiple: true, default: [] },
    'exclude-networks': { type: 'string', multiple: true, default: [] },
    tool: { type: 'string' },
    'dry-run': { type: 'boolean', default: false },
    remove: { type: 'boolean', default: false },
  })
  if (values.tool !== undefined && values.tool !== 'nft' && values.tool !== 'iptables') throw usage('`--tool` takes `nft` or `iptables`.')
  const redirection: Redirection = {
    inbound: parts(values.inbound).map(pairOfPorts),
    outbound: values.outbound === undefined ? undefined : portNumber('--outbound', values.outbound),
    uid: userId(values.uid),
    excludedPorts: parts(values['exclude-ports']).map((text) => portNumber('--exclude-ports', text)),
    excludedNetworks: parts(values['exclude-networks']).map(network),
  }
  if (!values.remove && redirection.inbound.length === 0 && redirection.outbound === undefined) {
    throw usage('nothing is to be redirected: give `--inbound`, `--outbound` or both.')
  }
  if (redirection.outbound !== undefined && redirection.uid === 0) {
    throw usage("`--uid 0` would leave all of root's calls alone, and redirect the sidecar's own: run the sidecar as a user of its own.")
  }
  if (values['dry-run']) io.stdout.write(rulesText(values.tool ?? 'nft', redirection))
  else applyRedirection(findTool(values.tool), values.remove ? undefined : redirection)
  return Promise.resolve(0)
}

function rulesText(tool: Tool, redirection: Redirection): string {
  if (tool === 'nft') return nftRules(redirection)
  const jumps = JUMPS.map((jump) => `iptables -t nat -A ${jump.join(' ')}\n`).join('')
  return `# iptables-restore --noflush\n${iptablesRules(redirection, 4)}# ip6tables-restore --noflush\n${iptablesRules(redirection, 6)}# and for both\n${jumps}`
}

function parts(values: readonly string[]): string[] {
  return values.flatMap((value) => value.split(',')).filter((part) => part !== '')
}

function pairOfPorts(text: string): readonly [number, number] {
  const [app = '', sidecar, ...more] = text.split('=')
  if (sidecar === undefined || more.length > 0) throw usage(`\`${text}\` is not a pair of ports: write \`--inbound 8080=7443\`.`)
  return [portNumber('--inbound', app), portNumber('--inbound', sidecar)]
}

function portNumber(option: string, text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port < 1 || port > 65_535) throw usage(`\`${option}\`: \`${text}\` is not a port (1 to 65535).`)
  return port
}

function userId(text: string): number {
  if (!/^\d{1,10}$/.test(text) || Number(text) >= 2 ** 32) throw usage(`\`--uid\` takes the number of a user, not \`${text}\`.`)
  return Number(text)
}

function network(text: string): string {
  const [address = '', bits, ...more] = text.split('/')
  const family = isIP(address)
  const longest = family === 6 ? 128 : 32
  const valid = family !== 0 && more.length === 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= longest))
  if (!valid) throw usage(`\`--exclude-networks\`: \`${text}\` is not a network such as 10.0.0.0/8.`)
  return text
}
