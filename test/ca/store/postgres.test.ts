/** The store on PostgreSQL: the contract, and what only a database server can do to it. */
import { after, before } from 'node:test'
import { openPostgresStore } from '#ca/store/postgres-store'
import type { PostgresStoreConfig } from '#config/ca-config'
import { NO_POSTGRES, type PostgresCluster, startPostgres } from '../../support/postgres-cluster.ts'
import { testStore } from './contract.ts'

let cluster: PostgresCluster
before(async () => {
  if (NO_POSTGRES === false) cluster = await startPostgres()
})
after(() => cluster?.close())

function configOf(url: string): PostgresStoreConfig {
  return { kind: 'postgres', url, passwordFile: undefined, tls: 'off', ca: undefined, keep: 0 }
}

testStore('PostgreSQL', {
  replicas: true,
  skip: NO_POSTGRES,
  async fresh() {
    const config = configOf(cluster.createDatabase())
    return { open: () => openPostgresStore(config), dispose: async () => undefined }
  },
})
