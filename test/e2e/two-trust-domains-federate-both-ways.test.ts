/** Two authorities, each with its sidecar, know each other by their bundle endpoints: calls both ways, a rotation, an impostor. */
import assert from 'node:assert/strict'
import { get } from 'node:http'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { type CaProcess, startCaProcess } from '../support/ca-process.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'
import { beginCalls } from '../support/steady-calls.ts'

const [EAST, WEST] = ['east.example', 'west.example']

/** Lets the workloads of another trust domain in, whose bundle it fetches from the endpoint of that domain's authority. */
function partner(trustDomain: string, { bundlePort, bundleFile }: CaProcess): string {
  const id = `spiffe://${trustDomain}/postern/ca`
  return `  federation:
    ${trustDomain}: { endpoint: { url: "https://127.0.0.1:${bundlePort}/", profile: https_spiffe, spiffeId: "${id}", bundle: "${bundleFile}" } }
`
}

function outbound(port: number, trustDomain: string): string {
  return `    - listen: 127.0.0.1:0\n      to: 127.0.0.1:${port}\n      peer: spiffe://${trustDomain}/ns/shop/sa/service\n`
}

/** What the app of another trust domain answers to a call by way of both sidecars. */
function answer(port: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  get({ host: '127.0.0.1', port, path: '/', agent: false }, (response) => {
    let text = ''
    response.on('data', (chunk: Buffer) => void (text += chunk.toString()))
    response.on('end', () => resolve(`${response.statusCode} ${text}`))
  }).on('error', reject)
  return promise
}

function rootsOf({ source }: RunningSidecar, trustDomain: string): readonly string[] {
  return source.current.trust.bundles.get(trustDomain)?.roots.map(({ fingerprint }) => fingerprint) ?? []
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20))
}

test('workloads of two authorities call each other, through a rotation of one, and nobody who takes its place is believed', async (t) => {
  await using app = await startApp((request, response) => response.end(String(request.headers['x-postern-principal'])))
  await using east = await startCaProcess({ trustDomain: EAST, bundlePort: 'any' })
  await using west = await startCaProcess({ trustDomain: WEST, bundlePort: 'any' })
  const path = '/ns/shop/sa/service'
  const policyOf = (trustDomain: string): string => `- allow: { and: [trust_domain: ${trustDomain}] }\n`
  await using western = await runSidecar({
    app: app.port,
    identity: await west.identityFor(path),
    policy: policyOf(EAST),
    spec: partner(EAST, east),
  })
  await using eastern = await runSidecar({
    app: app.port,
    identity: await east.identityFor(path),
    policy: policyOf(WEST),
    spec: partner(WEST, west),
    outbound: outbound(western.port, WEST),
  })
  await using westernCaller = await runSidecar({
    identity: await west.identityFor('/ns/shop/sa/caller'),
    spec: partner(EAST, east),
    outbound: outbound(eastern.port, EAST),
  })

  assert.equal(await answer(eastern.outboundPort), `200 spiffe://${EAST}${path}`)
  assert.equal(await answer(westernCaller.outboundPort), `200 spiffe://${WEST}/ns/shop/sa/caller`)
  {
    // Of the same trust domain as the server, and so not meant by its policy: bundles are not merged.
    const { identity } = westernCaller.source.current
    using agent = createMtlsAgent({ ...identity, bundlePem: west.bundlePem })
    assert.equal((await call(western.port, agent, '/')).status, 403)
  }

  // The west replaces its root. The east hears of it from the bundle endpoint alone.
  const [before = ''] = rootsOf(eastern, WEST)
  const own = western.source.current.identity
  await using eastToWest = beginCalls(eastern.outboundPort, 20)
  await using westToEast = beginCalls(westernCaller.outboundPort, 20)
  for (const step of [['prepare'], ['publish'], ['activate', '--wait', '20s'], ['taint'], ['revoke', '--wait', '20s']]) {
    const { status, stdout, stderr } = await west.ca('rotate', ...step, '--config', 'ca/ca.yaml')
    assert.equal(status, 0, `${step[0]}: ${stdout}${stderr}`)
    if (step[0] === 'publish') await until(() => rootsOf(eastern, WEST).length === 2)
  }
  await until(() => rootsOf(eastern, WEST).length === 1 && western.source.current.identity !== own)
  for (const traffic of [eastToWest, westToEast]) {
    const { answered, failures } = await traffic.stop()
    t.diagnostic(`${answered} calls through the rotation, ${failures.length} failed`)
    assert.deepEqual(failures, [])
    assert.ok(answered > 0)
  }
  const after = rootsOf(eastern, WEST)
  assert.notDeepEqual(after, [before])
  assert.equal(await answer(eastern.outboundPort), `200 spiffe://${EAST}${path}`)

  // Another authority that calls itself by the same name takes the place of the endpoint.
  await west.kill()
  await using _impostor = await startCaProcess({ trustDomain: WEST, bundlePort: west.bundlePort })
  const fault = (): string => eastern.source.status().find(({ error }) => error !== undefined)?.error ?? ''
  await until(() => /of west\.example: (?!ECONNREFUSED)/.test(fault()))
  assert.match(fault(), /ERR_SVID_ISSUER_UNKNOWN/)
  assert.deepEqual(rootsOf(eastern, WEST), after, 'what was known stays in force')
  assert.equal(await answer(eastern.outboundPort), `200 spiffe://${EAST}${path}`)
  t.diagnostic(`the impostor is reported: ${fault()}`)
})
