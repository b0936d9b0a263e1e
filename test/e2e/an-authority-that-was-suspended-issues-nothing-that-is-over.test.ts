/** The authority is stopped (SIGSTOP) past the end of its own certificate and of its callers', with requests waiting for it, and woken. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { privateKeyPem } from '#pki/keys'
import { requestSvid } from '#pki/request-svid'
import { openAuthorityCaller } from '../../bench/load/authority.ts'
import { startCaProcess } from '../support/ca-process.ts'

const LIFE = 3_000

test('what waited for it is answered by the time it is: a renewal of what has ended is refused, what is issued is valid', async (t) => {
  await using ca = await startCaProcess({ x509: `${LIFE / 1000}s` })
  const tokens = await ca.tokens(['/ns/shop/sa/held', '/ns/shop/sa/new'])
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const csr = requestSvid(privateKey)
  const attestation = (index: number) => JSON.stringify({ attestation: { type: 'join_token', token: tokens[index] }, csr })
  const leafOf = (body: string): X509Certificate => new X509Certificate((JSON.parse(body) as { svid: string[] }).svid[0] ?? '')
  const anonymous = await openAuthorityCaller(ca.port, ca.bundlePem)
  const first = await anonymous.post('/v1/x509-svid', attestation(0))
  const end = leafOf(first).validToDate.getTime()
  const { svid } = JSON.parse(first) as { svid: string[] }
  const holder = await openAuthorityCaller(ca.port, ca.bundlePem, { certificatePem: svid.join(''), keyPem: privateKeyPem(privateKey) })
  t.after(() => {
    anonymous.close()
    holder.close()
  })

  ca.suspend()
  const refused = holder.post('/v1/x509-svid', JSON.stringify({ csr })).then(
    () => 'it was renewed',
    (error: Error) => error.message,
  )
  const waiting = anonymous.post('/v1/x509-svid', attestation(1))
  while (Date.now() < end + 1000) await new Promise((resolve) => setTimeout(resolve, 50))
  const woken = Date.now()
  ca.resume()
  assert.match(await refused, /^HTTP\/1\.1 401 [\s\S]*ERR_SVID_EXPIRED/)
  const leaf = leafOf(await waiting)
  assert.ok(leaf.validFromDate.getTime() <= woken && leaf.validToDate.getTime() > Date.now(), `${leaf.validFrom} to ${leaf.validTo}`)
  // Its own certificate had ended, too, and it has another one by itself: whoever dials anew is served.
  const fresh = await ca.tokens(['/ns/shop/sa/later'])
  let later: X509Certificate | undefined
  while (later === undefined) {
    const caller = await openAuthorityCaller(ca.port, ca.bundlePem).catch(() => undefined)
    const body = await caller
      ?.post('/v1/x509-svid', JSON.stringify({ attestation: { type: 'join_token', token: fresh[0] }, csr }))
      .catch(() => undefined)
    caller?.close()
    if (body !== undefined) later = leafOf(body)
  }
  assert.ok(later.validToDate.getTime() > Date.now())
})
