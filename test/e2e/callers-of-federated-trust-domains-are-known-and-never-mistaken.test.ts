import 'reflect-metadata'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { keyIdentifier, publicKeyOf } from '#pki/keys'
import type { NameParts } from '#pki/sign-certificate'
import { startApp } from '../fakes/apps.ts'
import { createTestMesh, issueCertificate, type TestMesh, type TestSvid } from '../support/authority.ts'
import { KeyUsageFlags } from '@peculiar/x509'
import { refusedHandshake } from '../support/handshakes.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { type RunningSidecar, runSidecar } from '../support/sidecar.ts'

const POLICY = '- allow: { and: [trust_domain: partner.example] }\n- allow: { and: [service_account: own] }\n'

/** Of a.example, with bundles of its own and of the others; the document is written before they are, so the start is a reload. */
async function federate(own: TestMesh, others: readonly TestMesh[], app: number): Promise<RunningSidecar> {
  const sidecar = await runSidecar({ mesh: own, app, policy: POLICY })
  for (const { trustDomain, bundlePem } of others) sidecar.write(`${trustDomain}.pem`, bundlePem)
  const federation = others.map(({ trustDomain }) => `    ${trustDomain}: { bundle: ${trustDomain}.pem }\n`).join('')
  sidecar.write('sidecar.yaml', `${readFileSync(join(sidecar.dir, 'sidecar.yaml'), 'utf8')}  federation:\n${federation}`)
  await sidecar.source.reload()
  return sidecar
}

const NAME: NameParts = [['CN', 'Root CA']]

/** A trust domain whose root has no name of its own, and signs leaves itself. */
async function twin(trustDomain: string): Promise<TestMesh> {
  const mesh = await createTestMesh(trustDomain)
  const made = await issueCertificate({
    authority: mesh.root,
    selfSigned: true,
    subject: NAME,
    uris: [],
    basicConstraints: { ca: true },
    keyUsage: { usages: KeyUsageFlags.keyCertSign },
    extendedKeyUsage: null,
  })
  const root = { ...mesh.root, privateKey: made.privateKey, keyId: keyIdentifier(publicKeyOf(made.privateKey)) }
  const bundlePem = made.certificatePem
  return {
    ...mesh,
    bundlePem,
    async issue(path) {
      const id = `spiffe://${trustDomain}${path}`
      const leaf = await issueCertificate({ authority: root, issuerName: NAME, uris: [id] })
      return { ...leaf, id, bundlePem, chain: [leaf.certificate] }
    },
  }
}

async function status(sidecar: RunningSidecar, svid: TestSvid): Promise<number> {
  using agent = createMtlsAgent(svid)
  return (await call(sidecar.port, agent, '/')).status
}

test('a caller of a federated trust domain is admitted by `trust_domain`, and the app learns who it is', async () => {
  const [own, partner, third] = await Promise.all([
    createTestMesh('a.example'),
    createTestMesh('partner.example'),
    createTestMesh('third.example'),
  ])
  await using app = await startApp((request, response) => void response.end(request.headers['x-postern-principal']))
  for (const others of [
    [partner, third],
    [third, partner],
  ]) {
    await using sidecar = await federate(own, others, app.port)
    assert.equal(sidecar.source.lastReload.successful, true)
    using agent = createMtlsAgent(await partner.issue('/billing/worker'))
    const answer = await call(sidecar.port, agent, '/')
    assert.deepEqual([answer.status, answer.body], [200, 'spiffe://partner.example/billing/worker'])
    assert.equal(await status(sidecar, await own.issue('/ns/x/sa/own')), 200)
    assert.equal(await status(sidecar, await third.issue('/ns/x/sa/cart')), 403, 'known, and not allowed')
    const stranger = await createTestMesh('stranger.example')
    assert.equal((await refusedHandshake(sidecar, await stranger.issue('/x')))['reason'], 'ERR_SVID_TRUST_DOMAIN_UNKNOWN')
  }
})

test('an authority of one domain that names workloads of another is refused, whichever bundle comes first', async () => {
  const [own, partner, third] = await Promise.all([
    createTestMesh('a.example'),
    createTestMesh('partner.example'),
    createTestMesh('third.example'),
  ])
  await using app = await startApp()
  for (const others of [
    [partner, third],
    [third, partner],
  ]) {
    await using sidecar = await federate(own, others, app.port)
    for (const [mesh, claim, reason] of [
      [third, 'spiffe://partner.example/billing/worker', 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN'],
      [third, 'spiffe://a.example/ns/x/sa/own', 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN'],
      [own, 'spiffe://partner.example/billing/worker', 'ERR_SVID_AUTHORITY_OF_OTHER_DOMAIN'],
    ] as const) {
      const record = await refusedHandshake(sidecar, await mesh.issueFlawed({ uris: [claim] }))
      assert.equal(record['reason'], reason, claim)
      assert.equal((record['peer'] as { id: string }).id, claim, 'what was claimed is on record')
      // Without the key of its issuer in its leaf there could be more than one path: refused for that, before any is looked for.
      const vague = await refusedHandshake(sidecar, await mesh.issueFlawed({ uris: [claim], authorityKeyId: null }))
      assert.equal(vague['reason'], 'ERR_SVID_NO_ISSUER_KEY_ID', claim)
    }
  }
  assert.equal(app.received.length, 0)
})

test('two domains whose roots have the same name are told apart, and two that share a root are not taken together', async () => {
  const [own, partner, third] = await Promise.all([twin('a.example'), twin('partner.example'), twin('third.example')])
  await using app = await startApp()
  for (const others of [
    [partner, third],
    [third, partner],
  ]) {
    await using sidecar = await federate(own, others, app.port)
    assert.equal(sidecar.source.lastReload.successful, true)
    assert.equal(await status(sidecar, await partner.issue('/x')), 200)
    assert.equal(await status(sidecar, await own.issue('/ns/x/sa/own')), 200)
    assert.equal(await status(sidecar, await third.issue('/x')), 403)
  }
  await using shared = await federate(own, [{ ...third, bundlePem: own.bundlePem }], app.port)
  assert.equal(shared.source.lastReload.successful, false)
  assert.match(JSON.stringify(shared.source.status()), /share an authority/)
  assert.equal(await status(shared, await own.issue('/ns/x/sa/own')), 200, 'what was in force still is')
})
