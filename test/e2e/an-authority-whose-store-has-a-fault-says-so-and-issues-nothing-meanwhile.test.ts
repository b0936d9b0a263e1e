/** A running authority on a disk that fills up, that takes no writes, or that has damaged its store: what callers, probes and operators are told. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { openSqliteStore } from '#ca/store/sqlite-store'
import { requestSvid } from '#pki/request-svid'
import { type AuthorityCaller, openAuthorityCaller } from '../../bench/load/authority.ts'
import { type CaProcess, startCaProcess } from '../support/ca-process.ts'
import { temporaryFolder } from '../support/openssl.ts'
import { ask } from '../support/small-client.ts'
import { smallDisk } from '../support/small-disk.ts'

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** Attests with a token on a connection of its own. @returns the serial @throws what the authority answered otherwise */
async function attest(ca: CaProcess, token: string): Promise<string> {
  const caller: AuthorityCaller = await openAuthorityCaller(ca.port, ca.bundlePem)
  try {
    const body = JSON.stringify({ attestation: { type: 'join_token', token }, csr: requestSvid(privateKey) })
    const { svid } = JSON.parse(await caller.post('/v1/x509-svid', body)) as { svid: string[] }
    return plain(new X509Certificate(svid[0] ?? '').serialNumber)
  } finally {
    caller.close()
  }
}

const plain = (serial: string): string => BigInt(`0x${serial}`).toString(16)

async function onRecord(ca: CaProcess): Promise<readonly string[]> {
  await using store = await openSqliteStore({ file: ca.database, role: 'tool', create: false })
  return (await store.issuances({ limit: 100_000 })).map(({ serial }) => plain(serial))
}

function readiness(ca: CaProcess): ReturnType<typeof ask> {
  return ask(join(ca.dir, 'health.sock'), '/readyz?verbose')
}

test('on a full disk callers are sent away with the reason, the probe has the sentence, and it goes on by itself', async (t: TestContext) => {
  const disk = smallDisk(t, '8m')
  if (disk === undefined) return
  await using ca = await startCaProcess({ in: disk, health: true })
  const tokens = (await ca.tokens(Array.from({ length: 1500 }, (_, index) => `/ns/shop/sa/app-${index}`))).values()
  const next = (): string => tokens.next().value ?? assert.fail('the disk did not get full')
  const answered = [await attest(ca, next())]
  assert.equal((await readiness(ca)).status, 200)
  const ballast = openSync(join(disk, 'ballast'), 'w')
  assert.throws(() => {
    for (;;) writeSync(ballast, Buffer.alloc(4096))
  }, /ENOSPC/)
  // Room for some more.
  ftruncateSync(ballast, fstatSync(ballast).size - 256 * 1024)
  closeSync(ballast)
  let refused: string | undefined
  let last = ''
  while (refused === undefined) {
    last = next()
    await attest(ca, last).then(
      (serial) => answered.push(serial),
      (error: Error) => (refused = error.message),
    )
  }
  assert.match(refused, /^HTTP\/1\.1 503 [\s\S]*\r\nretry-after: \d+\r\n[\s\S]*ERR_CA_STORE_FULL/)
  const probe = await readiness(ca)
  assert.equal(probe.status, 503)
  assert.match(probe.text, /disk .* is full\. Free space/)
  // Who looks is not turned away.
  const list = await ca.ca('list', '--config', 'ca/ca.yaml', '--output', 'json')
  assert.equal((JSON.parse(list.stdout) as unknown[]).length > 0, true)
  rmSync(join(disk, 'ballast'))
  while ((await readiness(ca)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20))
  // What was refused was not used up.
  answered.push(await attest(ca, last))
  assert.deepEqual((await onRecord(ca)).toSorted(), answered.toSorted(), 'what is on record is what was answered')
  t.diagnostic(`${answered.length} answered, all of them on record, and nothing else`)
})

test('a store that cannot be written keeps it from starting, with what to do', async (t) => {
  const disk = smallDisk(t, '8m')
  if (disk === undefined) return
  await using ca = await startCaProcess({ in: disk })
  const [token = ''] = await ca.tokens(['/ns/shop/sa/app'])
  await ca.kill()
  execFileSync('mount', ['-o', 'remount,ro', disk])
  await assert.rejects(ca.start(), /ERR_CA_STORE_READ_ONLY/)
  execFileSync('mount', ['-o', 'remount,rw', disk])
  await ca.start()
  assert.ok(await attest(ca, token))
})

test('a damaged store keeps it from starting; a backup that was made beside the running authority brings it back', async (t) => {
  await using ca = await startCaProcess()
  const tokens = await ca.tokens(['/ns/shop/sa/a', '/ns/shop/sa/b'])
  const serial = await attest(ca, tokens[0] ?? '')
  const backup = join(temporaryFolder(t), 'backup.db')
  assert.equal((await ca.ca('backup', '--config', 'ca/ca.yaml', '--out', backup)).status, 0)
  await ca.kill()
  for (const suffix of ['-wal', '-shm']) rmSync(ca.database + suffix, { force: true })
  const { size } = statSync(ca.database)
  const file = openSync(ca.database, 'r+')
  writeSync(file, Buffer.alloc(size - 4096, 0xa5), 0, size - 4096, 4096)
  closeSync(file)
  await assert.rejects(ca.start(), (error: Error) => {
    assert.match(error.message, /ERR_CA_STORE_CORRUPT/)
    assert.match(error.message, /postern ca restore/)
    return true
  })
  assert.equal((await ca.ca('restore', '--config', 'ca/ca.yaml', '--from', backup)).status, 0)
  await ca.start()
  assert.deepEqual(await onRecord(ca), [serial])
  // A token that the backup takes for unused may have been used since: it is void.
  await assert.rejects(attest(ca, tokens[1] ?? ''), /ERR_JOIN_TOKEN_/)
  const [fresh = ''] = await ca.tokens(['/ns/shop/sa/b'])
  assert.ok(await attest(ca, fresh))
})
