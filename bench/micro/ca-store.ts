/** What a durable issuance costs in the SQLite store: CPU of the main thread, and of the whole process. Run alone: `node bench/micro/ca-store.ts`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { openSqliteStore, type SqliteStore } from '#ca/store/sqlite-store'
import { issuance } from '../../test/ca/store/records.ts'

const ROUNDS = 8_000
const WARM_UP = 2_000
const RECORDED = 100_000

let next = 0
/** As a CA has them: an id each of some hundreds of workloads, a serial of 16 bytes. */
function record(): ReturnType<typeof issuance> {
  const serial = (next++).toString(16).padStart(32, '0')
  return issuance(serial, { spiffeId: `spiffe://example.org/ns/shop/sa/workload-${next % 500}`, evidence: `svid ${serial}` })
}

async function issue(store: SqliteStore, count: number, inFlight: number): Promise<void> {
  let left = count
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left-- > 0) await store.recordIssuance(record())
    }),
  )
}

function line(nanoseconds: number, what: string): void {
  console.log(`${nanoseconds.toFixed(0).padStart(7)} ns  ${what}`)
}

const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
{
  await using store = await openSqliteStore({ file: join(folder, 'ca.db') })
  for (const inFlight of [1, 8, 64]) {
    await issue(store, WARM_UP, inFlight)
    const [thread, all, commits, begun] = [process.threadCpuUsage(), process.cpuUsage(), store.commits, performance.now()]
    await issue(store, inFlight === 1 ? ROUNDS / 8 : ROUNDS, inFlight)
    const count = inFlight === 1 ? ROUNDS / 8 : ROUNDS
    const [main, total] = [process.threadCpuUsage(thread), process.cpuUsage(all)]
    line(((main.user + main.system) * 1000) / count, `main thread per durable issuance, ${inFlight} in flight`)
    line(((total.user + total.system) * 1000) / count, `process per durable issuance, ${inFlight} in flight`)
    line(
      ((performance.now() - begun) * 1e6) / count,
      `wall clock each, ${inFlight} in flight, ${(count / (store.commits - commits)).toFixed(1)} a commit`,
    )
  }
  await issue(store, RECORDED - next, 512)
  globalThis.gc?.()
  console.log(`RSS with ${await store.countIssuances()} issuances recorded: ${(process.memoryUsage().rss / 1024 ** 2).toFixed(0)} MB`)
}
const opening = performance.now()
{
  await using again = await openSqliteStore({ file: join(folder, 'ca.db') })
  console.log(`opened again, every page checked: ${(performance.now() - opening).toFixed(0)} ms`)
  const search = performance.now()
  await again.issuances({ spiffeId: 'spiffe://example.org/ns/shop/sa/workload-7', limit: 100 })
  console.log(`the newest hundred of one id: ${(performance.now() - search).toFixed(1)} ms`)
}
rmSync(folder, { recursive: true, force: true })
