import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '#base/clock'
import type { FederationEndpointConfig } from '#config/sidecar-config'
import { parseSpiffeId } from '#identity/spiffe-id'
import type { Bundle } from '#pki/bundle'
import { readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { createFederationEndpoint, type FederationEndpoint } from '#svid-source/federation-endpoint'
import { startBundleEndpoint } from '../fakes/bundle-endpoint.ts'
import { createTestMesh, type TestMesh } from '../support/authority.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-federation-'))
after(() => rmSync(folder, { recursive: true }))

function bundleOf(meshes: readonly TestMesh[], sequence: number, refreshHint = 3600): string {
  const authorities = meshes.flatMap((mesh) => readBundle(mesh.bundlePem, mesh.trustDomain, 'x').roots.map(({ der }) => der))
  return bundleDocument({ authorities, sequence: BigInt(sequence), refreshHint })
}

interface Opened extends Disposable {
  readonly endpoint: FederationEndpoint
  readonly results: string[]
  changes: number
}

async function open(
  config: FederationEndpointConfig,
  bundleOfDomain: (domain: string) => Bundle | undefined = () => undefined,
): Promise<Opened> {
  const opened: Opened = { endpoint: undefined as never, results: [], changes: 0, [Symbol.dispose]() {} }
  const endpoint = await createFederationEndpoint({
    config,
    clock: systemClock,
    random: () => 0,
    bundleOf: bundleOfDomain,
    accept() {},
    onChange: () => void opened.changes++,
    observe: (_domain, result) => void opened.results.push(result),
  })
  await endpoint.reload()
  return Object.assign(opened, { endpoint, [Symbol.dispose]: () => endpoint.close() })
}

const partner = await createTestMesh('partner.example')
const next = await createTestMesh('partner.example')
const web = await createTestMesh('web.example')
const webCertificate = await web.issue('/web', { dnsNames: ['localhost'] })
writeFileSync(join(folder, 'web.pem'), web.bundlePem)
writeFileSync(join(folder, 'partner.pem'), partner.bundlePem)

function webConfig(port: number, more: Partial<FederationEndpointConfig> = {}): FederationEndpointConfig {
  const url = `https://localhost:${port}/bundle`
  return {
    trustDomain: 'partner.example',
    url,
    profile: 'https_web',
    ca: join(folder, 'web.pem'),
    bundle: undefined,
    ...more,
  } as FederationEndpointConfig
}

test('F-3, F-4: a bundle is taken from a web endpoint, and a newer one after it; an older one changes nothing and is reported', async () => {
  await using server = await startBundleEndpoint(webCertificate, bundleOf([partner], 5))
  using opened = await open(webConfig(server.port))
  const { endpoint } = opened
  assert.equal(endpoint.current?.sequence, 5n)
  server.answer = bundleOf([partner, next], 6)
  await endpoint.reload()
  assert.equal(endpoint.current.roots.length, 2)
  server.answer = bundleOf([partner], 4)
  await endpoint.reload()
  assert.equal(endpoint.current.sequence, 6n)
  assert.match(endpoint.status().error ?? '', /sequence 4, and 6 is in force.*ERR_BUNDLE_OLDER/)
  server.answer = bundleOf([next], 7)
  await endpoint.reload()
  assert.deepEqual([endpoint.current.sequence, endpoint.status().error], [7n, undefined], 'recovers')
  assert.deepEqual(opened.results.slice(-2), ['ERR_BUNDLE_OLDER', 'ok'])
  assert.equal(opened.changes, 3)
})

for (const [title, answer, error] of [
  ['an endpoint that answers with HTML changes nothing and is reported', '<html></html>', /no SPIFFE bundle/],
  ['an endpoint that answers with PEM changes nothing and is reported', partner.bundlePem, /no SPIFFE bundle/],
  ['an endpoint that answers with broken JSON changes nothing and is reported', '{ "keys": [', /not JSON.*ERR_BUNDLE_MALFORMED/],
  ['an endpoint that answers with no authority changes nothing and is reported', '{ "keys": [] }', /ERR_BUNDLE_EMPTY/],
  [
    'an endpoint that answers with authorities of another trust domain changes nothing and is reported',
    bundleOf([web], 9),
    /ERR_BUNDLE_AUTHORITY/,
  ],
  [
    'an endpoint that answers with too much changes nothing and is reported',
    (_: unknown, response: { end(text: string): void }) => response.end(`{ "a": "${'x'.repeat(1_100_000)}" }`),
    /longer than|ERR_BUNDLE_ENDPOINT/,
  ],
  [
    'an endpoint that answers with a status changes nothing and is reported',
    (_: unknown, response: { writeHead(status: number): { end(): void } }) => response.writeHead(500).end(),
    /answers 500/,
  ],
  [
    'F-18, F-25: a redirect is not followed, changes nothing and is reported',
    (_: unknown, response: { writeHead(status: number, headers: object): { end(): void } }) =>
      response.writeHead(302, { location: 'https://localhost/other' }).end(),
    /answers 302, a redirect/,
  ],
  [
    'an endpoint that answers with a cut changes nothing and is reported',
    (request: { socket: { destroy(): void } }) => request.socket.destroy(),
    /ERR_BUNDLE_ENDPOINT/,
  ],
] as const) {
  test(title, async () => {
    await using server = await startBundleEndpoint(webCertificate, answer as string)
    using opened = await open(webConfig(server.port, { bundle: join(folder, 'partner.pem') }))
    assert.match(opened.endpoint.status().error ?? '', error)
    assert.equal(opened.endpoint.current?.roots.length, 1, 'the bundle to begin with stays')
    assert.equal(opened.changes, 0)
  })
}

test('a web endpoint with a certificate of another authority, or of another name, is not asked', async () => {
  await using server = await startBundleEndpoint(await partner.issue('/web', { dnsNames: ['localhost'] }), bundleOf([partner], 1))
  using opened = await open(webConfig(server.port))
  assert.match(opened.endpoint.status().error ?? '', /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET/)
  server.show(webCertificate)
  using named = await open({ ...webConfig(server.port), url: `https://127.0.0.1:${server.port}/` })
  assert.match(named.endpoint.status().error ?? '', /ALTNAME/)
  assert.equal(server.asked, 0)
})

test('F-20: an endpoint that shows an SVID is verified with the bundle in force, and must be who is named', async () => {
  const id = parseSpiffeId('spiffe://partner.example/bundle-endpoint')
  assert.ok(id.ok)
  await using server = await startBundleEndpoint(await partner.issue('/bundle-endpoint'), bundleOf([partner, next], 2))
  const config: FederationEndpointConfig = {
    trustDomain: 'partner.example',
    url: `https://127.0.0.1:${server.port}/`,
    profile: 'https_spiffe',
    spiffeId: id.value,
    bundle: join(folder, 'partner.pem'),
  }
  using opened = await open(config)
  assert.equal(opened.endpoint.status().error, undefined)
  assert.equal(opened.endpoint.current?.roots.length, 2)

  // The rotation that the bundle announced: the new authority's certificate is taken, as nothing else is.
  server.show(await next.issue('/bundle-endpoint'))
  server.answer = bundleOf([next], 3)
  await opened.endpoint.reload()
  assert.equal(opened.endpoint.current.sequence, 3n)
  server.show(await next.issue('/somebody-else'))
  server.answer = bundleOf([next], 4)
  await opened.endpoint.reload()
  assert.match(opened.endpoint.status().error ?? '', /it is spiffe:\/\/partner\.example\/somebody-else, not/)
  server.show(await partner.issue('/bundle-endpoint'))
  await opened.endpoint.reload()
  assert.match(opened.endpoint.status().error ?? '', /its certificate is refused/)
  assert.equal(opened.endpoint.current.sequence, 3n)
})

test('an endpoint of a third trust domain is verified with the bundle of that one', async () => {
  const id = parseSpiffeId('spiffe://web.example/web')
  assert.ok(id.ok)
  await using server = await startBundleEndpoint(webCertificate, bundleOf([partner], 2))
  const config: FederationEndpointConfig = {
    trustDomain: 'partner.example',
    url: `https://127.0.0.1:${server.port}/`,
    profile: 'https_spiffe',
    spiffeId: id.value,
    bundle: undefined,
  }
  using unknown = await open(config)
  assert.match(unknown.endpoint.status().error ?? '', /no bundle yet/)
  using opened = await open(config, (domain) => (domain === 'web.example' ? readBundle(web.bundlePem, domain, 'x') : undefined))
  assert.equal(opened.endpoint.current?.sequence, 2n)
})

test('F-3: it is asked again when the hint of the bundle is over', async () => {
  await using server = await startBundleEndpoint(webCertificate, bundleOf([partner], 1, 1))
  using _ = await open(webConfig(server.port))
  const before = server.asked
  await server.waitFor(before + 1)
})
