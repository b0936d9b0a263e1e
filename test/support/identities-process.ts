/** The process behind `startIdentities`: each identity is the source that a sidecar has, a few attested at a time, as pods start. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import type { IdentitiesOptions, InForce } from './identities.ts'
import { joinedSource } from './joined-source.ts'

const AT_ONCE = 10

async function open({ port, bundle }: IdentitiesOptions, folder: string, token: string, index: number): Promise<void> {
  const file = join(folder, `token-${index}`)
  writeFileSync(file, token)
  const source = await joinedSource(port, bundle, file)
  let last: InForce | undefined
  function tell(): void {
    const { serial, notAfter } = source.current.identity.facts
    if (serial === last?.serial) return
    last = { index, serial, notAfter, at: Date.now(), endOfLast: last?.notAfter }
    process.send?.(last)
  }
  source.applied?.(source.current)
  source.subscribe(() => {
    source.applied?.(source.current)
    tell()
  })
  tell()
}

process.once('message', (options: IdentitiesOptions) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-identities-'))
  let next = 0
  const lane = async (): Promise<void> => {
    for (let index = next++; index < options.tokens.length; index = next++) await open(options, folder, options.tokens[index] ?? '', index)
  }
  // Tokens are used up by then; whoever ends this process ends it at once.
  void Promise.all(Array.from({ length: AT_ONCE }, lane)).finally(() => rmSync(folder, { recursive: true, force: true }))
})
process.once('disconnect', () => process.exit())
