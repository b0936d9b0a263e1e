/** Whatever bytes a file has, it is recognised, or refused with a code of ours: a stranger's file is no reason to report a bug. */
import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { PosternError } from '#base/errors'
import { bundleDocument } from '#pki/bundle-document'
import { createCsr } from '#pki/csr'
import { certificatesOf, recognise } from '../../certs-tooling/content.ts'
import { describeItems } from '../../certs-tooling/describe.ts'
import { createTestMesh } from '../support/authority.ts'
import { openssl } from '../support/openssl.ts'

async function seeds(): Promise<Readonly<Record<string, Buffer>>> {
  const mesh = await createTestMesh('example.org')
  const svid = await mesh.issue('/a')
  const key = createPrivateKey(svid.keyPem)
  return {
    certificate: svid.certificate,
    chain: Buffer.from(svid.certificatePem + svid.keyPem),
    pkcs8: key.export({ type: 'pkcs8', format: 'der' }),
    sec1: key.export({ type: 'sec1', format: 'der' }),
    encrypted: Buffer.from(openssl(['pkcs8', '-topk8', '-iter', '1', '-passout', 'pass:x'], svid.keyPem)),
    request: Buffer.from(await createCsr({ privateKey: key })),
    bundle: Buffer.from(bundleDocument({ authorities: [mesh.root.certificate], sequence: 1n, refreshHint: 1 })),
  }
}

/** What becomes of the bytes: read, or refused with this code. */
async function outcome(bytes: Buffer): Promise<string> {
  try {
    const content = await recognise(bytes, 'file', 'x')
    describeItems(content.items)
    certificatesOf(content)
    return 'read'
  } catch (error) {
    if (error instanceof PosternError) return error.code
    throw error
  }
}

test('files as they were made are read', async () => {
  for (const [name, bytes] of Object.entries(await seeds())) assert.equal(await outcome(bytes), 'read', name)
})

test('files with bytes changed, removed or put in are read or refused', async () => {
  const all = Object.values(await seeds())
  const edit = fc.record({ at: fc.nat(4000), remove: fc.nat(4), insert: fc.uint8Array({ maxLength: 4 }) })
  const counts = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...all), fc.array(edit, { minLength: 1, maxLength: 3 }), async (seed, edits) => {
      let bytes = seed
      for (const { at, remove, insert } of edits) {
        const place = at % bytes.length
        bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + remove)])
      }
      const result = await outcome(bytes)
      counts.set(result, (counts.get(result) ?? 0) + 1)
    }),
    { numRuns: 700 },
  )
  assert.ok((counts.get('read') ?? 0) > 0 && counts.size >= 3, JSON.stringify([...counts]))
})

test('noise is refused', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      assert.notEqual(await outcome(Buffer.from(bytes)), 'read')
    }),
    { numRuns: 300 },
  )
})
