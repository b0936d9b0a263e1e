/** A rotation of root and intermediate under traffic. One sidecar is stopped past its lease: it is named, and refreshes before it serves again. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { startApp } from '../fakes/apps.ts'
import { startCaProcess } from '../support/ca-process.ts'
import { dial, readToEnd } from '../support/mtls-client.ts'
import { outboundTo } from '../support/outbound-entries.ts'
import { runSidecar } from '../support/sidecar.ts'
import { startSidecarProcess } from '../support/sidecar-process.ts'
import { beginCalls } from '../support/steady-calls.ts'

test('rotation goes on without the one that is stopped, names it, and fails no request elsewhere; that one refreshes before it serves', async (t) => {
  await using app = await startApp()
  await using ca = await startCaProcess({ poll: '300ms' })
  await using called = await runSidecar({ app: app.port, identity: await ca.identityFor('/ns/test/sa/service') })
  await using calling = await runSidecar({
    identity: await ca.identityFor('/ns/test/sa/caller'),
    outbound: outboundTo([called.port], '/ns/test/sa/service'),
  })
  await using stopped = await startSidecarProcess({ app: app.port, identity: await ca.identityFor('/ns/test/sa/stopped') })
  const rotate = (...args: readonly string[]): ReturnType<typeof ca.ca> => ca.ca('rotate', ...args, '--config', 'ca/ca.yaml')
  const { identity } = calling.source.current
  const oldRoot = [...calling.source.current.trust.roots.keys()]

  // A connection from before, on which a request waits while it is stopped.
  const credentials = { certificatePem: identity.certificatePem, keyPem: identity.keyPem, bundlePem: ca.bundlePem }
  const kept = await dial(stopped.port, credentials)
  const first = once(kept, 'data')
  kept.write('GET /first HTTP/1.1\r\nhost: h\r\n\r\n')
  await first
  stopped.child.kill('SIGSTOP')

  await using traffic = beginCalls(calling.outboundPort, 20)
  assert.equal((await rotate('prepare')).status, 0)
  assert.equal((await rotate('publish')).status, 0)
  const activated = await rotate('activate', '--wait', '20s')
  assert.equal(activated.status, 0, activated.stdout + activated.stderr)
  assert.match(activated.stdout + activated.stderr, /sa\/stopped/, 'it says who was left behind')
  const { absent, behind } = JSON.parse((await rotate('status', '--output', 'json')).stdout) as {
    absent: { id: string }[]
    behind: unknown[]
  }
  assert.match(JSON.stringify(absent), /sa\/stopped/)
  t.diagnostic(`after activate: ${absent.length} absent, ${behind.length} behind`)
  assert.equal((await rotate('taint')).status, 0)
  // Both renew under the new intermediate.
  while (called.source.current.identity.facts.issuerKeyId === identity.facts.issuerKeyId || calling.source.current.identity === identity)
    await new Promise((resolve) => setTimeout(resolve, 50))

  // What waits for it in the kernel's queues when it wakes: a request on the old connection, and a caller of the new authority.
  const rest = readToEnd(kept)
  kept.write('GET /second HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
  stopped.child.kill('SIGCONT')
  const second = await stopped.record((record) => record['path'] === '/second')
  const refreshed = await stopped.logged((line) => line['msg'] === 'New trust bundles are in force.')
  const timeOf = (record: typeof second): number => Date.parse(record['time'] as string)
  if (second['reason'] !== 'ERR_TRUST_STALE') assert.ok(timeOf(second) >= timeOf(refreshed), 'served before it had asked')
  t.diagnostic(`what waited for it was answered: ${JSON.stringify([second['status'], second['reason']])}`)
  assert.match(await rest, /^HTTP\/1\.1 (200|503) /)
  const { identity: renewed } = calling.source.current
  let answer = ''
  while (!answer.startsWith('HTTP/1.1 200')) {
    const socket = await dial(stopped.port, { ...credentials, certificatePem: renewed.certificatePem, keyPem: renewed.keyPem }).catch(
      () => undefined,
    )
    if (socket === undefined) continue
    const read = readToEnd(socket)
    socket.write('GET /third HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
    answer = await read
  }
  const third = await stopped.record((record) => record['path'] === '/third' && record['status'] === 200)
  assert.ok(timeOf(third) >= timeOf(refreshed))
  assert.match(JSON.stringify(third['peer']), new RegExp(renewed.facts.serial))

  const { answered, failures } = await traffic.stop()
  assert.deepEqual(failures, [])
  t.diagnostic(`${answered} requests elsewhere, none failed`)
  assert.ok(oldRoot.every((root) => calling.source.current.trust.roots.has(root)) && calling.source.current.trust.roots.size === 2)
})
