import 'reflect-metadata'
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import type { ConnectionOptions } from 'node:tls'
import { ExtendedKeyUsage, KeyUsageFlags } from '@peculiar/x509'
import { startApp } from '../fakes/apps.ts'
import { type CertificateFlaws, createTestMesh, type TestSvid } from '../support/authority.ts'
import { refusedHandshake } from '../support/handshakes.ts'
import { call, createMtlsAgent } from '../support/mtls-client.ts'
import { runSidecar } from '../support/sidecar.ts'

const app = await startApp()
const sidecar = await runSidecar({ app: app.port, inbound: '      timeouts: { handshake: 500ms }\n' })
after(async () => {
  await sidecar[Symbol.asyncDispose]()
  await app[Symbol.asyncDispose]()
})
const { mesh } = sidecar
const HOUR = 3_600_000
const CART = 'spiffe://example.org/ns/shop/sa/cart'

/** How often a reason was counted. */
async function counted(reason: string): Promise<number> {
  const { text } = await sidecar.metrics.render()
  const samples = text.split('\n').filter((line) => line.startsWith('postern_handshakes_total{') && line.includes(`reason="${reason}"`))
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

interface Case {
  readonly svid: (() => Promise<TestSvid>) | undefined
  readonly reason: string
  /** The identity on record; none where no certificate was read. */
  readonly presented?: string
  readonly options?: ConnectionOptions
}

const flawed = (flaws: CertificateFlaws, reason: string, presented = CART): Case => ({
  svid: () => mesh.issueFlawed(flaws),
  reason,
  presented,
})

const CASES: Readonly<Record<string, Case>> = {
  'no certificate': { svid: undefined, reason: 'ERR_TLS_NO_CERTIFICATE' },
  'one that has expired': flawed({ notBefore: Date.now() - 2 * HOUR, notAfter: Date.now() - HOUR }, 'ERR_SVID_EXPIRED'),
  'one that is not valid yet': flawed({ notBefore: Date.now() + HOUR, notAfter: Date.now() + 2 * HOUR }, 'ERR_SVID_NOT_YET_VALID'),
  'one of a foreign authority of the same name': {
    svid: async () => (await createTestMesh()).issue('/ns/shop/sa/cart'),
    reason: 'ERR_SVID_ISSUER_UNKNOWN',
    presented: CART,
  },
  'one of a trust domain without bundle': {
    svid: async () => (await createTestMesh('other.example')).issue('/x'),
    reason: 'ERR_SVID_TRUST_DOMAIN_UNKNOWN',
    presented: 'spiffe://other.example/x',
  },
  'one that is forged': {
    svid: async () => mesh.issueFlawed({ signer: (await createTestMesh()).root.privateKey }),
    reason: 'ERR_SVID_SIGNATURE',
    presented: CART,
  },
  'one that signed itself': flawed({ selfSigned: true }, 'ERR_SVID_ISSUER_UNKNOWN'),
  'one without intermediate': {
    svid: async () => {
      const svid = await mesh.issue('/ns/shop/sa/cart')
      return { ...svid, certificatePem: svid.certificatePem.slice(0, svid.certificatePem.indexOf('-----END') + 26) }
    },
    reason: 'ERR_SVID_ISSUER_UNKNOWN',
    presented: CART,
  },
  'one of a CA': flawed({ basicConstraints: { ca: true } }, 'ERR_SVID_LEAF_IS_CA'),
  'one that may sign certificates': flawed(
    { keyUsage: { usages: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign } },
    'ERR_SVID_LEAF_CERT_SIGN',
  ),
  'one for servers only': flawed({ extendedKeyUsage: [ExtendedKeyUsage.serverAuth] }, 'ERR_SVID_EXTENDED_KEY_USAGE'),
  'one without key usage': flawed({ keyUsage: null }, 'ERR_SVID_NO_KEY_USAGE'),
  'one without a URI': flawed({ uris: [], dnsNames: ['cart.shop'] }, 'ERR_SVID_NO_ID', ''),
  'one with two URIs': flawed({ uris: [CART, 'spiffe://example.org/ns/shop/sa/admin'] }, 'ERR_SVID_SEVERAL_IDS'),
  'one whose ID has no path': flawed({ uris: ['spiffe://example.org'] }, 'ERR_SVID_LEAF_WITHOUT_PATH', 'spiffe://example.org'),
  'one whose URI is of another kind': flawed({ uris: ['https://example.org/cart'] }, 'ERR_SPIFFE_ID_MALFORMED', 'https://example.org/cart'),
  'TLS 1.2': { svid: () => mesh.issue('/ns/shop/sa/cart'), reason: 'ERR_TLS_HANDSHAKE', options: { maxVersion: 'TLSv1.2' } },
  'another protocol': { svid: () => mesh.issue('/ns/shop/sa/cart'), reason: 'ERR_TLS_ALPN', options: { ALPNProtocols: ['smtp'] } },
  'no group in common': { svid: () => mesh.issue('/ns/shop/sa/cart'), reason: 'ERR_TLS_HANDSHAKE', options: { ecdhCurve: 'P-521' } },
}

for (const [what, { svid, reason, presented, options }] of Object.entries(CASES)) {
  test(`a handshake with ${what} is refused, recorded and counted`, async () => {
    const before = await counted(reason)
    const shown = await svid?.()
    const record = await refusedHandshake(sidecar, shown, options)
    assert.equal(record['reason'], reason)
    assert.equal(record['source_ip'], '127.0.0.1')
    assert.equal(record['listener'], '127.0.0.1:0')
    const peer = record['peer'] as { id: string; serial: string; not_after: string } | undefined
    assert.equal(peer?.id, presented)
    if (peer !== undefined) {
      assert.match(peer.serial, /^[0-9a-f]+$/)
      assert.match(peer.not_after, /^20\d\d-.*Z$/)
    }
    assert.equal(await counted(reason), before + 1)
    assert.equal(app.received.filter(({ url }) => url === '/refused').length, 0)
  })
}

test('handshakes that are not ended, or are none, are recorded without a peer', async () => {
  for (const [bytes, reason] of [
    ['', 'ERR_TLS_HANDSHAKE_TIMEOUT'],
    ['GET / HTTP/1.1\r\n\r\n', 'ERR_TLS_HANDSHAKE'],
  ] as const) {
    const before = (await sidecar.records()).length
    const socket = connect(sidecar.port, '127.0.0.1')
    socket.on('error', () => {}).resume()
    socket.write(bytes)
    await new Promise((resolve) => void socket.once('close', resolve))
    const [record] = (await sidecar.records()).slice(before)
    assert.deepEqual([record?.['msg'], record?.['reason'], record?.['peer']], ['handshake', reason, undefined])
  }
})

test('who is right is served all the while, and no record of a handshake is made of it', async () => {
  using agent = createMtlsAgent(await mesh.issue('/ns/shop/sa/cart'))
  const before = (await sidecar.records()).length
  assert.equal((await call(sidecar.port, agent, '/right')).status, 200)
  const records = (await sidecar.records()).slice(before)
  assert.deepEqual(
    records.map(({ msg, path }) => [msg, path]),
    [['decision', '/right']],
  )
})
