/** What the subcommands of `postern ca` begin with: the document read, the store opened. */
import { resolve } from 'node:path'
import { PosternError } from '#base/errors'
import { formatProblem } from '#base/located'
import type { Store, StoreRole } from '#ca/store/store'
import type { CaConfig } from '#config/ca-config'
import { loadCaConfiguration } from '#config/load-ca'
import { usage } from '../arguments.ts'
import type { CommandIo } from '../command.ts'

/** Warnings go to stderr. @throws PosternError ERR_CONFIG_INVALID, ERR_USAGE */
export async function readCaConfig(option: string | undefined, io: CommandIo): Promise<CaConfig> {
  if (option === undefined) throw usage('`--config FILE` is missing: the document of the authority, such as ca/ca.yaml.')
  const { config, problems } = await loadCaConfiguration({ file: resolve(io.cwd, option), displayFolder: io.cwd })
  if (config === undefined) {
    throw new PosternError(
      'ERR_CONFIG_INVALID',
      `The document of the authority cannot be used.\n${problems.map(formatProblem).join('\n')}\n`,
    )
  }
  for (const problem of problems) io.stderr.write(`${formatProblem(problem)}\n`)
  return config
}

/** @throws PosternError ERR_CA_STORE… */
export async function openCaStore(config: CaConfig, role: StoreRole, create: boolean): Promise<Store> {
  const { openStore } = await import('#ca/store/open-store')
  return openStore(config.store, { role, create })
}
