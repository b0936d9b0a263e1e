/** The `openssl` command as a second opinion. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

/** Its standard output; throws with what it said if it fails. */
export function openssl(args: readonly string[], input?: string | Buffer): string {
  return execFileSync('openssl', [...args], { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], ...(input !== undefined && { input }) })
}

/** Whether a program is on the path, for tests that ask a third party. */
export function hasProgram(name: string, ...args: string[]): boolean {
  return spawnSync(name, args, { stdio: 'ignore' }).error === undefined
}

/** A folder that goes with the test. */
export function temporaryFolder(t: Pick<TestContext, 'after'>): string {
  const dir = mkdtempSync(join(tmpdir(), 'postern-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
