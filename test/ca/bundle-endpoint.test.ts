/** The bundle for other trust domains, over both profiles of SPIFFE Federation §5. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect, type PeerCertificate } from 'node:tls'
import { readBundle } from '#pki/bundle'
import { startTestCa, TRUST_DOMAIN } from '../support/ca.ts'
import { openssl, temporaryFolder } from '../support/openssl.ts'

interface Fetched {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
}

async function fetchFrom(port: number, path: string, options: object): Promise<Fetched> {
  const { promise, resolve, reject } = Promise.withResolvers<Fetched>()
  get({ host: '127.0.0.1', port, path, agent: false, ...options }, (response) => {
    let text = ''
    response.on('data', (chunk: Buffer) => void (text += chunk))
    response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
  }).on('error', reject)
  return promise
}

const listen = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const

test('F-14, F-23: over https_spiffe it is the SVID of the authority that serves the newest bundle', async (t) => {
  const ca = await startTestCa(t, { config: { bundleEndpoint: { listen, profile: 'https_spiffe', files: undefined } } })
  let names = ''
  const checkServerIdentity = (_host: string, certificate: PeerCertificate): undefined => void (names = certificate.subjectaltname ?? '')
  for (const path of ['/', '/v1/bundle', '/?x']) {
    const { status, headers, text } = await fetchFrom(ca.ca.bundlePort, path, { ca: ca.bundlePem, checkServerIdentity })
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'application/json')
    assert.equal(readBundle(text, TRUST_DOMAIN, 'answer').roots[0]?.pem, ca.bundlePem)
    assert.equal(names, `URI:spiffe://${TRUST_DOMAIN}/postern/ca`)
    assert.equal(
      (await fetchFrom(ca.ca.bundlePort, path, { ca: ca.bundlePem, checkServerIdentity, headers: { 'if-none-match': headers['etag'] } }))
        .status,
      304,
    )
  }
  assert.equal((await fetchFrom(ca.ca.bundlePort, '/v1/trust', { ca: ca.bundlePem, checkServerIdentity })).status, 404)
  assert.equal((await fetchFrom(ca.ca.bundlePort, '/', { ca: ca.bundlePem, checkServerIdentity, method: 'POST' })).status, 405)
})

test('F-7, F-13: it takes TLS 1.2 and 1.3 alone, and asks nobody for a certificate', async (t) => {
  const ca = await startTestCa(t, { config: { bundleEndpoint: { listen, profile: 'https_spiffe', files: undefined } } })
  for (const [version, taken] of [
    ['TLSv1.3', true],
    ['TLSv1.2', true],
    ['TLSv1.1', false],
  ] as const) {
    const socket = connect({
      host: '127.0.0.1',
      port: ca.ca.bundlePort,
      rejectUnauthorized: false,
      minVersion: version,
      maxVersion: version,
      ciphers: 'DEFAULT@SECLEVEL=0',
    })
    const outcome = await new Promise<boolean>((resolve) => {
      socket.once('secureConnect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    assert.equal(outcome, taken, version)
    if (taken) assert.equal((socket as unknown as { isSessionReused(): boolean }).isSessionReused(), false)
    socket.destroy()
  }
})

test('over https_web it is the certificate from files, verified by its DNS name, and renewed ones are taken over', async (t) => {
  const dir = temporaryFolder(t)
  const [certificate, key] = [join(dir, 'web.pem'), join(dir, 'web-key.pem')]
  const make = (): void =>
    void openssl([
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      key,
      '-out',
      certificate,
      '-days',
      '2',
      '-subj',
      '/CN=trust.example',
      '-addext',
      'subjectAltName=DNS:trust.example',
    ])
  make()
  const ca = await startTestCa(t, { config: { bundleEndpoint: { listen, profile: 'https_web', files: { certificate, key } } } })
  const first = readFileSync(certificate, 'utf8')
  const ask = (pem: string): Promise<Fetched> => fetchFrom(ca.ca.bundlePort, '/', { ca: pem, servername: 'trust.example' })
  assert.equal((await ask(first)).status, 200)
  await assert.rejects(fetchFrom(ca.ca.bundlePort, '/', { ca: first, servername: 'other.example' }), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  })
  writeFileSync(certificate, 'nothing')
  const complaint = 'the new certificate of the bundle endpoint cannot be used; the old one stays'
  while (!ca.log.lines.some(({ message }) => message === complaint)) assert.equal((await ask(first)).status, 200)
  assert.equal((await ask(first)).status, 200, 'what cannot be used changes nothing')
  make()
  const second = readFileSync(certificate, 'utf8')
  // Refused by the client until the new certificate is in force.
  while ((await ask(second).catch(() => undefined)) === undefined);
  await assert.rejects(ask(first))
})
