/** The authority is killed for half a lifetime and started again: nothing between sidecars fails, and renewals come back spread out. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import { createCaSvidSource } from '#svid-source/ca'
import type { SvidSource } from '#svid-source/source'
import { silentLog } from '#telemetry/log'
import { startApp } from '../fakes/apps.ts'
import { type CaProcess, startCaProcess } from '../support/ca-process.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { runSidecar } from '../support/sidecar.ts'
import { beginCalls } from '../support/steady-calls.ts'

const LIFE = 24_000
const CLIENTS = 60
/** Ms that a busy machine takes to start the authority: part of the time in which it is away. */
const START = 4_000

/** As many identities as sidecars of a small cluster have, in this process. */
async function openSources(t: TestContext, ca: CaProcess, renewed: () => void): Promise<readonly SvidSource[]> {
  const paths = Array.from({ length: CLIENTS }, (_, index) => `/ns/load/sa/client-${index}`)
  const tokens = await ca.tokens(paths)
  const sources: SvidSource[] = []
  // A few at a time, as pods start.
  for (let start = 0; start < CLIENTS; start += 25) {
    const some = tokens.slice(start, start + 25).map(async (token, offset) => {
      const file = join(ca.dir, `load-${start + offset}`)
      writeFileSync(file, token)
      const source = await createCaSvidSource({
        ca: {
          kind: 'ca',
          address: { kind: 'tcp', host: '127.0.0.1', port: ca.port },
          trustDomain: undefined,
          bundle: join(ca.dir, 'ca', 'keys', 'bundle.pem'),
          attest: { method: 'joinToken', file },
          cache: undefined,
        },
        federation: [],
        clock: systemClock,
        log: silentLog,
        random: Math.random,
        observe: (what, result) => {
          if (what === 'renewal' && result === 'ok') renewed()
        },
      })
      t.after(() => source.close())
      return source
    })
    sources.push(...(await Promise.all(some)))
  }
  return sources
}

test('killed for half a lifetime: traffic goes on, everybody renews in time, and not at once', async (t) => {
  await using app = await startApp()
  await using ca = await startCaProcess({ x509: `${LIFE / 1000}s`, poll: '2s' })
  let back = Infinity
  const delays: number[] = []
  const sources = await openSources(t, ca, () => {
    if (Date.now() > back) delays.push(Date.now() - back)
  })
  await using called = await runSidecar({ app: app.port, identity: await ca.identityFor('/ns/test/sa/service') })
  await using calling = await runSidecar({
    identity: await ca.identityFor('/ns/test/sa/caller'),
    outbound: outboundTo([called.port], '/ns/test/sa/service'),
  })
  await using traffic = beginCalls(calling.outboundPort, 40)
  const before = sources.map((source) => source.current.identity.facts)
  await ca.kill()
  const killed = Date.now()
  await new Promise((resolve) => setTimeout(resolve, LIFE / 2 - START))
  await ca.start()
  back = Date.now()
  const firstEnd = Math.min(...before.map(({ notAfter }) => notAfter))
  if (back > firstEnd - LIFE / 8) return t.skip(`this machine took ${back - killed} ms where ${LIFE / 2} were planned`)
  while (sources.some((source, index) => source.current.identity.facts.serial === before[index]!.serial)) {
    const ended = before.filter(
      ({ notAfter, serial }, index) => notAfter < Date.now() && sources[index]!.current.identity.facts.serial === serial,
    )
    assert.deepEqual(ended, [], 'a certificate ended before it was renewed')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const { answered, failures } = await traffic.stop()
  assert.deepEqual(failures, [])
  const spread = Math.max(...delays) - Math.min(...delays)
  const buckets = Map.groupBy(delays, (delay) => Math.floor(delay / 100))
  const most = Math.max(...[...buckets.values()].map(({ length }) => length))
  t.diagnostic(
    `away for ${back - killed} ms; ${answered} requests, none failed; ${delays.length} renewals over ${spread} ms, at most ${most} in 100 ms`,
  )
  assert.ok(most < CLIENTS / 2, `${most} of ${delays.length} renewals came within 100 ms`)
})
