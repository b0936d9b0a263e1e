/** `postern ca rotate prepare`: makes what a rotation begins with. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock } from '#base/clock'
import { openAuthorityKeys } from '#ca/authority-keys'
import { livesOf, prepareAuthorities } from '#ca/prepare'
import { addPrepared, checkNoneUnderWay } from '#ca/rotation'
import { spanOption } from '#certs-tooling/options'
import { jsonText, timeText } from '#certs-tooling/text'
import { type Authority, loadAuthority } from '#pki/authority'
import { usage } from '../arguments.ts'
import type { CommandIo, ExitStatus } from '../command.ts'
import type { Task } from './rotate.ts'

export interface PrepareValues {
  readonly 'root-cert'?: string | undefined
  readonly 'root-key'?: string | undefined
  readonly 'root-ttl'?: string | undefined
  readonly 'intermediate-ttl'?: string | undefined
}

export async function prepare({ store, config, io, json }: Task, values: PrepareValues): Promise<ExitStatus> {
  const keys = openAuthorityKeys(config.keys.folder)
  const authorities = await store.authorities()
  // Before any key is written.
  checkNoneUnderWay(authorities)
  const lives = livesOf(authorities, config.trustDomain)
  const root = readRoot(values, io)
  const prepared = await prepareAuthorities({
    keys,
    trustDomain: config.trustDomain,
    now: systemClock.now(),
    rootTtl: values['root-ttl'] === undefined ? lives.root : spanOption('--root-ttl', values['root-ttl']),
    intermediateTtl:
      values['intermediate-ttl'] === undefined ? lives.intermediate : spanOption('--intermediate-ttl', values['intermediate-ttl']),
    ...(root !== undefined && { root }),
  })
  const sequence = await addPrepared(store, prepared.records)
  if (json) {
    io.stdout.write(
      jsonText({ sequence, changed: prepared.records.map(({ id, kind, state }) => ({ id, kind, state })), root_key: prepared.rootKey }),
    )
    return 0
  }
  for (const { id, kind, notAfter } of prepared.records)
    io.stdout.write(`${kind} authority ${id} is prepared; it can sign until ${timeText(notAfter)}\n`)
  if (prepared.rootKey !== undefined) {
    const path = join(keys.folder, prepared.rootKey.slice('file:'.length))
    io.stdout.write(`Keep a copy of ${path} offline, then remove it there: it is needed for new intermediates alone.\n`)
  }
  io.stderr.write('\nNext:\n  postern ca rotate publish --config …\n')
  return 0
}

function readRoot(values: PrepareValues, io: CommandIo): Authority | undefined {
  const { 'root-cert': certificate, 'root-key': key } = values
  if (certificate === undefined && key === undefined) return undefined
  if (certificate === undefined || key === undefined) throw usage('`--root-cert` and `--root-key` go together.')
  const text = (path: string): string => readFileSync(resolve(io.cwd, path), 'utf8')
  return loadAuthority({ certificatePem: text(certificate), keyPem: text(key) })
}
