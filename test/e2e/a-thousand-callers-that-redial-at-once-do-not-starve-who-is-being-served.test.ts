import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { startLoad } from '../support/load.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'

/** On a quiet machine with a core for the sidecar; else processes wait for each other more than for it. */
const STRICT = process.env['POSTERN_STRICT'] === '1'
const CALLERS = 1000
const ROUNDS = STRICT ? 5 : 2

test(`${CALLERS} callers that redial at once do not starve who is being served`, async (t) => {
  await using app = await startApp()
  await using sidecar = await startSidecarProcess({ app: app.port })
  const { mesh, port } = sidecar
  await using steady = await startLoad({
    port,
    svid: await mesh.issue('/ns/test/sa/steady'),
    connections: 10,
    perSecond: 200,
    paths: ['/steady'],
  })
  while (app.received.length < 200) await new Promise((resolve) => void setTimeout(resolve, 50))
  const quiet = await steady.mark()
  await using crowd = await startLoad({
    port,
    svid: await mesh.issue('/ns/test/sa/crowd'),
    connections: CALLERS,
    perSecond: 'idle',
    paths: ['/crowd'],
  })
  await steady.mark()
  const took: number[] = []
  for (let round = 0; round < ROUNDS; round++) took.push(await crowd.redial())
  const during = await steady.mark()
  const [ofCrowd, ofSteady] = [await crowd.stop(), await steady.stop()]
  const ms = (value: number): string => `${value.toFixed(1)} ms`
  t.diagnostic(
    `p99 ${ms(during.p99)}, longest ${ms(during.longest)} (before: ${ms(quiet.p99)}, ${ms(quiet.longest)}); redials took ${took.map(ms).join(', ')}`,
  )
  // Unpaced, requests would wait for the whole of a redial.
  const bound = STRICT ? 50 : Math.max(500, Math.min(...took) / 3)
  assert.ok(during.p99 < bound, `p99 ${ms(during.p99)} of 200 requests/s, more than ${ms(bound)}`)
  assert.deepEqual(Object.keys(ofSteady.statuses), ['200'], 'none of its requests failed')
  assert.deepEqual(ofCrowd.statuses, { 200: CALLERS * (ROUNDS + 1) }, 'and each of the crowd was admitted and answered, at its first try')
})
