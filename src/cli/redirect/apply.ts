/** Hands the rules to the kernel by whichever tool is there: `nft` first, else `iptables` for both families. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { PosternError } from '#base/errors'
import { CHAINS, iptablesRules, JUMPS, NFT_REMOVAL, nftRules, type Redirection } from './rules.ts'

export type Tool = 'nft' | 'iptables'

/** The first of the two that can be run; `wanted` only that one. @throws PosternError ERR_REDIRECT_TOOL */
export function findTool(wanted: Tool | undefined): Tool {
  const tools: readonly Tool[] = wanted === undefined ? ['nft', 'iptables'] : [wanted]
  const found = tools.find((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0)
  if (found !== undefined) return found
  throw new PosternError(
    'ERR_REDIRECT_TOOL',
    `${tools.map((tool) => `\`${tool}\``).join(' and ')} cannot be run; use an image that has one, or the interception mode \`loopback\`, which needs none.`,
  )
}

/** @param redirection undefined removes what was made @throws PosternError ERR_REDIRECT_FAILED */
export function applyRedirection(tool: Tool, redirection: Redirection | undefined): void {
  if (tool === 'nft') {
    run('nft', ['-f', '-'], redirection === undefined ? NFT_REMOVAL : nftRules(redirection))
    return
  }
  for (const family of families()) {
    if (redirection === undefined) removeChains(family)
    else {
      run(`${program(family)}-restore`, ['--noflush', '--wait'], iptablesRules(redirection, family))
      for (const jump of JUMPS) if (!has(family, jump)) run(program(family), ['--wait', '-t', 'nat', '-A', ...jump])
    }
  }
}

function removeChains(family: 4 | 6): void {
  for (const jump of JUMPS) if (has(family, jump)) run(program(family), ['--wait', '-t', 'nat', '-D', ...jump])
  for (const chain of Object.values(CHAINS)) {
    if (spawnSync(program(family), ['-w', '-t', 'nat', '-n', '-L', chain], { stdio: 'ignore' }).status !== 0) continue
    run(program(family), ['--wait', '-t', 'nat', '-F', chain])
    run(program(family), ['--wait', '-t', 'nat', '-X', chain])
  }
}

function families(): readonly (4 | 6)[] {
  return existsSync('/proc/net/if_inet6') ? [4, 6] : [4]
}

function program(family: 4 | 6): string {
  return family === 4 ? 'iptables' : 'ip6tables'
}

function has(family: 4 | 6, jump: readonly string[]): boolean {
  return spawnSync(program(family), ['--wait', '-t', 'nat', '-C', ...jump], { stdio: 'ignore' }).status === 0
}

function run(command: string, args: readonly string[], input = ''): void {
  const { status, stderr, error } = spawnSync(command, args, { input, encoding: 'utf8' })
  if (status === 0) return
  const words = (error?.message ?? stderr).trim().split('\n', 1)[0] ?? ''
  const denied = /permi(?:tted|ssion)/i.test(words)
  const hint = denied ? ' It needs to run as root with the capability NET_ADMIN, and with iptables-legacy NET_RAW too.' : ''
  throw new PosternError(
    'ERR_REDIRECT_FAILED',
    `\`${[command, ...args].join(' ')}\` failed: ${words === '' ? `status ${status}` : words}.${hint}`,
  )
}
