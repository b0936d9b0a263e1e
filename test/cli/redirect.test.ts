import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { type Redirection, iptablesRules, nftRules } from '../../src/cli/redirect/rules.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const MAIN = join(ROOT, 'src/cli/main.ts')

const ALL: Redirection = {
  inbound: [
    [8080, 7443],
    [9090, 7444],
  ],
  outbound: 7001,
  uid: 1337,
  excludedPorts: [6379],
  excludedNetworks: ['10.96.0.1/32', 'fd00::/8'],
}

test('the rules of nftables replace the table as a whole', () => {
  assert.equal(
    nftRules(ALL),
    `add table inet postern
delete table inet postern
table inet postern {
  chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport 8080 redirect to :7443
    tcp dport 9090 redirect to :7444
  }
  chain outbound {
    type nat hook output priority -100; policy accept;
    meta skuid 1337 return
    oifname "lo" return
    tcp dport { 53, 6379 } return
    ip daddr 10.96.0.1/32 return
    ip6 daddr fd00::/8 return
    meta l4proto tcp redirect to :7001
  }
}
`,
  )
})

test('the rules of iptables: each family gets its own networks', () => {
  assert.match(iptablesRules(ALL, 4), /-A POSTERN_OUT -d 10\.96\.0\.1\/32 -j RETURN\n-A POSTERN_OUT -p tcp -j REDIRECT/)
  assert.match(iptablesRules(ALL, 6), /-A POSTERN_OUT -d fd00::\/8 -j RETURN\n-A POSTERN_OUT -p tcp -j REDIRECT/)
})

const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [[], /nothing is to be redirected/],
  [['--inbound', '8080'], /not a pair of ports/],
  [['--inbound', '8080=0'], /`0` is not a port/],
  [['--inbound', '8080=7443; flush ruleset'], /is not a port/],
  [['--outbound', '70000'], /not a port/],
  [['--outbound', '7001', '--uid', '0'], /user of its own/],
  [['--outbound', '7001', '--uid', 'postern'], /number of a user/],
  [['--outbound', '7001', '--exclude-networks', '10.0.0.0/33'], /not a network/],
  [['--outbound', '7001', '--exclude-networks', 'any'], /not a network/],
  [['--outbound', '7001', '--tool', 'ipfw'], /`nft` or `iptables`/],
]

test('what is not understood is refused in words before anything is changed', () => {
  for (const [args, expected] of WRONG) {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'redirect', ...args], { encoding: 'utf8' })
    assert.equal(status, 2, args.join(' '))
    assert.match(stderr, expected)
  }
})

/** Prints, for each connection it gets, where that was going; ends after the last. */
const SERVER = `
import { createServer } from 'node:net'
import { loadOriginalDestination } from ${JSON.stringify(join(ROOT, 'src/proxy/original-destination.ts'))}
const read = await loadOriginalDestination()
const [port, count] = process.argv.slice(1).map(Number)
let left = count
const server = createServer((socket) => {
  const to = read(socket)
  socket.end(to === undefined ? 'direct' : to.host + ' ' + to.port)
  if (--left === 0) server.close()
}).listen(port, '::', () => console.log('ready'))
`

/** Connects to an address and prints what comes back. */
const CLIENT = `
import { connect } from 'node:net'
const [host, port] = process.argv.slice(1)
connect({ host, port: Number(port) }).on('data', (data) => console.log(String(data))).on('error', (error) => console.log(error.code))
`

interface Namespace extends Disposable {
  run(command: string, ...args: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string }
  node(program: string, ...args: string[]): string
  listen(port: number, count: number): Promise<void>
}

async function namespace(): Promise<Namespace> {
  const name = `postern-${randomBytes(4).toString('hex')}`
  const { spawn } = await import('node:child_process')
  const children: ReturnType<typeof spawn>[] = []
  const inside = (...command: string[]): string[] => ['netns', 'exec', name, ...command]
  const run: Namespace['run'] = (...command) => spawnSync('ip', inside(...command), { encoding: 'utf8' })
  assert.equal(spawnSync('ip', ['netns', 'add', name]).status, 0)
  run('ip', 'link', 'set', 'lo', 'up')
  // An interface that leads nowhere, with addresses of both families: what goes out is redirected before it would leave.
  run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth1')
  run('ip', 'link', 'set', 'eth1', 'up')
  run('ip', 'link', 'set', 'eth0', 'up')
  run('ip', 'addr', 'add', '10.55.0.2/24', 'dev', 'eth0')
  run('ip', 'addr', 'add', 'fd55::2/64', 'dev', 'eth0', 'nodad')
  run('ip', 'route', 'add', 'default', 'dev', 'eth0')
  run('ip', '-6', 'route', 'add', 'default', 'dev', 'eth0')
  const script = (program: string): string[] => [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    '--input-type=module',
    '-e',
    program,
  ]
  return {
    run,
    node: (program, ...args) => run('setpriv', '--reuid', '1000', '--clear-groups', ...script(program), '--', ...args).stdout.trim(),
    async listen(port, count) {
      const child = spawn('ip', inside(...script(SERVER), '--', String(port), String(count)), { stdio: ['ignore', 'pipe', 'inherit'] })
      children.push(child)
      const { stdout } = child
      if (stdout !== null) for await (const line of stdout) if (String(line).includes('ready')) break
    },
    [Symbol.dispose]() {
      for (const child of children) child.kill('SIGKILL')
      spawnSync('ip', ['netns', 'del', name])
    },
  }
}

const CAN = process.getuid?.() === 0 && spawnSync('ip', ['netns', 'list']).status === 0

for (const tool of ['nft', 'iptables'] as const) {
  const skip = !CAN
    ? 'needs root and network namespaces'
    : spawnSync(tool, ['--version']).status === 0
      ? false
      : `needs ${tool}; apt-get install ${tool === 'nft' ? 'nftables' : 'iptables'}`
  test(
    `by ${tool}, the app's calls reach the sidecar, which learns where they were going; its own, DNS, loopback and exclusions do not`,
    { skip },
    async () => {
      using net = await namespace()
      const redirect = (...args: string[]) => net.run(process.execPath, MAIN, 'redirect', '--tool', tool, ...args)
      const done = redirect('--outbound', '7001', '--exclude-ports', '6379', '--exclude-networks', '10.66.0.0/16')
      assert.equal(done.status, 0, done.stderr)
      // Again: nothing doubles.
      assert.equal(redirect('--outbound', '7001', '--exclude-ports', '6379', '--exclude-networks', '10.66.0.0/16').status, 0)
      await net.listen(7001, 3)
      assert.equal(net.node(CLIENT, '10.77.0.9', '8080'), '10.77.0.9 8080')
      assert.equal(net.node(CLIENT, 'fd77::9', '8080'), 'fd77::9 8080')
      assert.equal(net.node(CLIENT, '127.0.0.1', '7001'), 'direct')
      const alone = `${CLIENT}\nsetTimeout(() => { console.log('left alone'); process.exit() }, 300)`
      for (const [host, port] of [
        ['10.66.0.1', '80'],
        ['10.77.0.9', '6379'],
        ['10.77.0.9', '53'],
      ] as const) {
        assert.equal(net.node(alone, host, port), 'left alone', `${host}:${port}`)
      }
      const own = net.run(
        'setpriv',
        '--reuid',
        '1337',
        '--clear-groups',
        process.execPath,
        '--input-type=module',
        '-e',
        alone,
        '--',
        '10.77.0.9',
        '8080',
      )
      assert.equal(own.stdout.trim(), 'left alone')
      assert.equal(redirect('--remove').status, 0)
      const left = tool === 'nft' ? net.run('nft', 'list', 'tables').stdout : net.run('iptables', '-t', 'nat', '-S').stdout
      assert.doesNotMatch(left, /postern/i)
    },
  )

  test(`by ${tool}, what others send to the app's port reaches the sidecar's`, { skip }, async () => {
    using net = await namespace()
    using other = await namespace()
    const veth = `v${randomBytes(3).toString('hex')}`
    assert.equal(net.run('ip', 'link', 'add', veth, 'type', 'veth', 'peer', 'name', `${veth}b`).status, 0)
    const otherName = other.run('ip', 'netns', 'identify').stdout.trim()
    assert.equal(net.run('ip', 'link', 'set', `${veth}b`, 'netns', otherName).status, 0)
    net.run('ip', 'addr', 'add', '10.88.0.1/24', 'dev', veth)
    net.run('ip', 'link', 'set', veth, 'up')
    other.run('ip', 'addr', 'add', '10.88.0.2/24', 'dev', `${veth}b`)
    other.run('ip', 'link', 'set', `${veth}b`, 'up')
    const done = net.run(process.execPath, MAIN, 'redirect', '--tool', tool, '--inbound', '8080=7443')
    assert.equal(done.status, 0, done.stderr)
    await net.listen(7443, 1)
    assert.equal(other.node(CLIENT, '10.88.0.1', '8080'), '10.88.0.1 8080')
  })
}
