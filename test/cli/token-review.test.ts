/** What the sidecar asks of the API server about tokens: what each answer becomes, and what the log says of silence. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { openTokenReview } from '#cli/token-review'
import { startKubeApi } from '../fakes/kube-api.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { createRecordingLog } from '../support/recording-log.ts'

test('each answer of the API server is a verdict, and silence is told once, until it answers again', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'token'), 'reviewer')
  await using api = await startKubeApi()
  let answer: unknown = {}
  let code = 201
  const sent: unknown[] = []
  api.intercept = (request, response, body) => {
    sent.push([request.headers.authorization, (JSON.parse(body) as { spec: unknown }).spec])
    response.writeHead(code, { 'content-type': 'application/json' })
    response.end(JSON.stringify(answer))
    return true
  }
  const log = createRecordingLog()
  const settings = { server: api.access.server, token: join(folder, 'token'), ca: join(folder, 'ca.pem'), refresh: 5_000, keep: 60_000 }
  const ask = openTokenReview(systemClock, log)(settings, ['catalog', 'shop'])
  const said = (): readonly string[] => log.lines.map(({ message }) => message)

  const early = await ask('t')
  assert.deepEqual([early?.reason, early?.detail.startsWith('ERR_KUBE_CONFIG: ')], ['ERR_TOKEN_REVIEW_UNAVAILABLE', true], 'no file yet')
  writeFileSync(settings.ca, '')
  const user = { username: 'system:serviceaccount:shop:cart' }
  for (const [status, reason, detail] of [
    [{ authenticated: true, audiences: ['shop'], user }, undefined, undefined],
    [{ authenticated: true, audiences: ['other'], user }, 'ERR_TOKEN_REVIEW', 'it is not meant for catalog or shop'],
    [{ authenticated: true, audiences: 'shop', user }, 'ERR_TOKEN_REVIEW', 'it is not meant for catalog or shop'],
    [{ authenticated: false, error: 'it is g\u00f6ne\n' }, 'ERR_TOKEN_REVIEW', 'it is g?ne?'],
    [null, 'ERR_TOKEN_REVIEW', 'the API server does not authenticate it'],
  ] as const) {
    answer = { status }
    const verdict = await ask('t')
    assert.deepEqual([verdict?.reason, verdict?.detail], [reason, detail])
  }
  assert.deepEqual(sent[0], ['Bearer reviewer', { token: 't', audiences: ['catalog', 'shop'] }])
  code = 500
  for (let round = 0; round < 3; round++) assert.equal((await ask('t'))?.reason, 'ERR_TOKEN_REVIEW_UNAVAILABLE')
  code = 201
  await ask('t')
  const [cannot, again] = [
    'the API server cannot be asked whether tokens still count',
    'the API server answers again whether tokens still count',
  ]
  assert.deepEqual(said(), [cannot, again, cannot, again])
  rmSync(settings.token)
  assert.equal((await ask('t'))?.reason, 'ERR_TOKEN_REVIEW', 'the token to ask with is kept')
})
