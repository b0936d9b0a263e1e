/** A process that issues without end, 16 at a time, and says each serial on stdout once it was answered. For tests that cut it off. */
import process from 'node:process'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { issuance } from './records.ts'

const store = await openSqliteStore({ file: process.argv[2] ?? '' })
let next = 0
await Promise.all(
  Array.from({ length: 16 }, async () => {
    for (;;) {
      const serial = (next++).toString(16).padStart(8, '0')
      await store.recordIssuance(issuance(serial))
      process.stdout.write(`${serial}\n`)
    }
  }),
)
