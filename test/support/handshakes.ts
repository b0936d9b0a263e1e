/** Callers that are to be refused in, or right behind, the handshake. */
import assert from 'node:assert/strict'
import type { ConnectionOptions } from 'node:tls'
import type { TestSvid } from './authority.ts'
import { dial, readToEnd } from './mtls-client.ts'
import type { JsonRecord, RunningSidecar } from './sidecar.ts'

/**
 * Connects, writes a request at once, and holds that not a byte comes back and that exactly one record is written.
 * @returns that record
 */
export async function refusedHandshake(
  sidecar: Pick<RunningSidecar, 'port' | 'records'>,
  svid: Pick<TestSvid, 'certificatePem' | 'keyPem' | 'bundlePem'> | undefined,
  options: ConnectionOptions = {},
): Promise<JsonRecord> {
  const before = (await sidecar.records()).length
  let answer = ''
  try {
    const socket = await dial(sidecar.port, svid, options)
    const end = readToEnd(socket)
    socket.write('GET /refused HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
    answer = await end
  } catch {
    // Refused in the handshake itself.
  }
  assert.equal(answer, '', 'not a byte comes back')
  const records = (await sidecar.records()).slice(before)
  assert.equal(records.length, 1, JSON.stringify(records))
  const [record] = records
  assert.equal(record?.['msg'], 'handshake', JSON.stringify(record))
  assert.equal(record['decision'], 'deny')
  return record
}
