import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { startApp } from '../fakes/apps.ts'
import { startBundleEndpoint } from '../fakes/bundle-endpoint.ts'
import { createTestMesh, type TestMesh } from '../support/authority.ts'
import { sendRaw } from '../support/mtls-client.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

const REQUEST = 'GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'

function bundleOf(meshes: readonly TestMesh[], sequence: number): string {
  const authorities = meshes.flatMap((mesh) => readBundle(mesh.bundlePem, mesh.trustDomain, 'x').roots.map(({ der }) => der))
  return bundleDocument({ authorities, sequence: BigInt(sequence), refreshHint: 1 })
}

/** Waits for a snapshot after which the partner has so many roots. */
async function untilRoots(sidecar: RunningSidecar, count: number): Promise<void> {
  const roots = (): number => sidecar.source.current.trust.bundles.get('partner.example')?.roots.length ?? 0
  if (roots() === count) return
  const { promise, resolve } = Promise.withResolvers<void>()
  const end = sidecar.source.subscribe(() => {
    if (roots() === count) resolve()
  })
  await promise
  end()
}

/** Waits until the status of an input says so. */
async function untilStatus(sidecar: RunningSidecar, said: RegExp): Promise<void> {
  while (!said.test(JSON.stringify(sidecar.source.status()))) await new Promise((resolve) => void setImmediate(resolve))
}

test('callers of a partner are let in by policy, keep up with its rotations, and are turned away by an older bundle never', async () => {
  const mesh = await createTestMesh()
  const partner = await createTestMesh('partner.example')
  const next = await createTestMesh('partner.example')
  const web = await createTestMesh('web.example')
  await using app = await startApp()
  await using endpoint = await startBundleEndpoint(await web.issue('/web', { dnsNames: ['localhost'] }), '<html>')
  await using sidecar = await runSidecar({
    mesh,
    app: app.port,
    policy: 'allow: { and: [trust_domain: partner.example] }\n',
    spec: `  federation:
    partner.example: { endpoint: { url: "https://localhost:${endpoint.port}/", profile: https_web, ca: web.pem } }
`,
    prepare: (dir) => writeFileSync(join(dir, 'web.pem'), web.bundlePem),
  })
  const caller = { ...(await partner.issue('/ns/test/sa/caller')), bundlePem: mesh.bundlePem }
  const rotated = { ...(await next.issue('/ns/test/sa/caller')), bundlePem: mesh.bundlePem }
  await endpoint.waitFor(1)
  assert.equal(await sendRaw(sidecar.port, caller, REQUEST), '', 'nobody knows the partner yet')
  assert.equal((await sidecar.record(({ msg }) => msg === 'handshake'))['reason'], 'ERR_SVID_TRUST_DOMAIN_UNKNOWN')
  await untilStatus(sidecar, /no SPIFFE bundle\. \(ERR_BUNDLE_ENDPOINT\)/)

  endpoint.answer = bundleOf([partner], 1)
  await sidecar.source.reload()
  await untilRoots(sidecar, 1)
  assert.match(await sendRaw(sidecar.port, caller, REQUEST), /^HTTP\/1\.1 200 /)
  assert.match(await sendRaw(sidecar.port, await mesh.issue('/ns/test/sa/caller'), REQUEST), /^HTTP\/1\.1 403 /, 'our own are not meant')

  // The hint says one second: nobody has to ask.
  endpoint.answer = bundleOf([partner, next], 2)
  await untilRoots(sidecar, 2)
  assert.match(await sendRaw(sidecar.port, rotated, REQUEST), /^HTTP\/1\.1 200 /)

  const { digest } = sidecar.source.current
  endpoint.answer = bundleOf([partner], 1)
  await untilStatus(sidecar, /ERR_BUNDLE_OLDER/)
  assert.equal(sidecar.source.current.digest, digest)
  assert.equal(sidecar.source.lastReload.successful, false)
  assert.match(await sendRaw(sidecar.port, rotated, REQUEST), /^HTTP\/1\.1 200 /)

  endpoint.answer = bundleOf([next], 3)
  await untilRoots(sidecar, 1)
  assert.equal(await sendRaw(sidecar.port, caller, REQUEST), '', 'an authority that is gone is trusted no more')
})

test('a bundle that holds an authority of our own trust domain is not taken', async () => {
  const mesh = await createTestMesh()
  const partner = await createTestMesh('partner.example')
  const web = await createTestMesh('web.example')
  await using endpoint = await startBundleEndpoint(await web.issue('/web', { dnsNames: ['localhost'] }), bundleOf([mesh], 2))
  await using sidecar = await runSidecar({
    mesh,
    spec: `  federation:
    partner.example: { endpoint: { url: "https://localhost:${endpoint.port}/", profile: https_web, ca: web.pem, bundle: partner.pem } }
`,
    prepare(dir) {
      writeFileSync(join(dir, 'web.pem'), web.bundlePem)
      writeFileSync(join(dir, 'partner.pem'), partner.bundlePem)
    },
  })
  await untilStatus(sidecar, /ERR_BUNDLE_AUTHORITY/)
  assert.deepEqual([...sidecar.source.current.trust.bundles.keys()], ['example.org', 'partner.example'])
  assert.equal(
    sidecar.source.current.trust.bundles.get('partner.example')?.roots[0]?.fingerprint,
    readBundle(partner.bundlePem, 'partner.example', 'x').roots[0]?.fingerprint,
  )
})

test('a bundle file whose sequence goes backwards is not taken', async () => {
  const partner = await createTestMesh('partner.example')
  const next = await createTestMesh('partner.example')
  await using sidecar = await runSidecar({
    spec: '  federation: { partner.example: { bundle: partner.json } }\n',
    prepare: (dir) => writeFileSync(join(dir, 'partner.json'), bundleOf([partner, next], 5)),
  })
  sidecar.write('partner.json', bundleOf([partner], 4))
  await sidecar.source.reload()
  await untilRoots(sidecar, 2)
  assert.match(JSON.stringify(sidecar.source.status()), /sequence 4, and 5 is in force.*ERR_BUNDLE_OLDER/)
  sidecar.write('partner.json', bundleOf([partner], 6))
  await untilRoots(sidecar, 1)
})
