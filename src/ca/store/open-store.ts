/** Opens the store that the CA's document names. */
import type { StoreConfig } from '#config/ca-config'
import { openSqliteStore } from './sqlite-store.ts'
import type { Store, StoreRole } from './store.ts'

export interface OpenStoreOptions {
  /** `server` unless said. */
  readonly role?: StoreRole
  /** SQLite: makes the file if it is not there; without, that is ERR_CA_STORE_MISSING. `ca init` makes it, so false unless said. */
  readonly create?: boolean
}

/** @throws PosternError ERR_CA_STORE… with what to do */
export async function openStore(config: StoreConfig, { role = 'server', create = false }: OpenStoreOptions = {}): Promise<Store> {
  if (config.kind === 'sqlite') return openSqliteStore({ file: config.file, role, create })
  // `pg` is loaded only where it is used.
  const { openPostgresStore } = await import('./postgres-store.ts')
  return openPostgresStore(config)
}
