/** The store on SQLite: the contract. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { testStore } from './contract.ts'

testStore('SQLite', {
  replicas: false,
  async fresh() {
    const folder = mkdtempSync(join(tmpdir(), 'postern-store-'))
    return {
      open: () => openSqliteStore({ file: join(folder, 'ca.db') }),
      dispose: async () => rmSync(folder, { recursive: true, force: true }),
    }
  },
})
