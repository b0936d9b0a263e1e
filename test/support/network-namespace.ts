/** A network of its own for a test: with loopback, both families, and a link to the machine's where one is asked for. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import process from 'node:process'

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface NetworkNamespace extends Disposable {
  readonly name: string
  readonly run: (command: string, ...args: string[]) => Ran
  /** Ends with the namespace at the latest. @param uid whose process it is */
  readonly spawn: (uid: number, command: string, ...args: string[]) => ChildProcess
}

/** Why such tests cannot run here; false if they can. */
export const NAMESPACES_MISSING: string | false =
  process.getuid?.() === 0 && spawnSync('ip', ['netns', 'list']).status === 0 ? false : 'needs root and network namespaces (iproute2)'

export function createNetworkNamespace(): NetworkNamespace {
  const name = `postern-${randomBytes(4).toString('hex')}`
  const children: ChildProcess[] = []
  const run: NetworkNamespace['run'] = (...command) => spawnSync('ip', ['netns', 'exec', name, ...command], { encoding: 'utf8' })
  assert.equal(spawnSync('ip', ['netns', 'add', name]).status, 0)
  run('ip', 'link', 'set', 'lo', 'up')
  return {
    name,
    run,
    spawn(uid, ...command) {
      const child = spawn(
        'ip',
        ['netns', 'exec', name, 'setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', ...command],
        {
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      )
      children.push(child)
      return child
    },
    [Symbol.dispose]() {
      for (const child of children) child.kill('SIGKILL')
      spawnSync('ip', ['netns', 'del', name])
    },
  }
}

/**
 * Joins it to the machine's own network. Goes with the namespace.
 * @param subnet such as `10.88.7`: the machine is .1, the namespace .2 and its default route; over IPv6 `fd10:88:7::1` and `::2`
 */
export function linkToHost({ name, run }: NetworkNamespace, subnet: string): void {
  const host = `pv${randomBytes(4).toString('hex')}`
  const ip = (...args: string[]): void => assert.equal(spawnSync('ip', args).status, 0, args.join(' '))
  ip('link', 'add', host, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
  ip('addr', 'add', `${subnet}.1/24`, 'dev', host)
  ip('link', 'set', host, 'up')
  run('ip', 'addr', 'add', `${subnet}.2/24`, 'dev', 'eth0')
  run('ip', 'link', 'set', 'eth0', 'up')
  run('ip', 'route', 'add', 'default', 'via', `${subnet}.1`)
  const prefix = `fd${subnet.replaceAll('.', ':')}:`
  ip('addr', 'add', `${prefix}:1/64`, 'dev', host, 'nodad')
  run('ip', 'addr', 'add', `${prefix}:2/64`, 'dev', 'eth0', 'nodad')
  run('ip', 'route', 'add', 'default', 'via', `${prefix}:1`)
}
