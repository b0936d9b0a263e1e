/** The store on PostgreSQL: the contract, and what only a database server can do to it. */
import { after, before } from 'node:test'
import { openPostgresStore } from '#ca/store/postgres-store'
import type { PostgresStoreConfig } from '#config/ca-config'
import { NO_POSTGRES, type PostgresCluster, startPostgres } from '../../support/postgres-cluster.ts'
import { testStore } from './contract.ts'

let cluster: PostgresCluster
let url: string
before(async () => {
  if (NO_POSTGRES !== false) return
  cluster = await startPostgres()
  url = cluster.createDatabase('contract')
})
after(() => cluster?.close())

function configOf(url: string): PostgresStoreConfig {
  return { kind: 'postgres', url, passwordFile: undefined, tls: 'off', ca: undefined, keep: 0 }
}

testStore('PostgreSQL', {
  replicas: true,
  skip: NO_POSTGRES,
  async fresh() {
    cluster.emptyDatabase('contract')
    const config = configOf(url)
    return { open: () => openPostgresStore(config), dispose: async () => undefined }
  },
})
