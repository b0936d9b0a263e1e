import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { boundPort, connectTarget, isConnectFault, listenOnEach } from '#base/sockets'

const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
const hasIpv6 = addresses.some(({ address }) => address === '::1')
const answering = (): Server =>
  createServer((socket) =>
    socket
      .on('error', () => {})
      .resume()
      .end(),
  )

async function answers(host: string, port: number): Promise<boolean> {
  const socket = connect(connectTarget({ kind: 'tcp', host, port }))
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

async function end(servers: readonly Server[]): Promise<void> {
  for (const server of servers) {
    server.close()
    await once(server, 'close')
  }
}

test('localhost is the loopbacks of both families, on one port', async () => {
  const servers = await listenOnEach(answering, { kind: 'tcp', host: 'localhost', port: 0 }, 'listen')
  const port = boundPort(servers[0])
  for (const host of ['127.0.0.1', ...(hasIpv6 ? ['::1'] : []), 'localhost', 'LOCALHOST']) assert.ok(await answers(host, port), host)
  assert.equal(servers.length, hasIpv6 ? 2 : 1)
  await end(servers)
  assert.ok(!(await answers('localhost', port)))
})

test('pod is every address by which others reach this host, and no loopback', async (t) => {
  const own = addresses.filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
  if (own.length === 0) return t.skip('this host has no address but loopback')
  const servers = await listenOnEach(answering, { kind: 'tcp', host: 'pod', port: 0 }, 'listen')
  const port = boundPort(servers[0])
  for (const { address } of own) assert.ok(await answers(address, port), address)
  assert.ok(!(await answers('localhost', port)))
  await end(servers)
})

test('an address that somebody has leaves none of the others taken', { skip: !hasIpv6 && 'this host has no IPv6 loopback' }, async () => {
  const other = answering()
  other.listen({ host: '::1', port: 0 })
  await once(other, 'listening')
  const port = boundPort(other)
  await assert.rejects(
    listenOnEach(answering, { kind: 'tcp', host: 'localhost', port }, 'listen'),
    /Cannot listen on \[::1\]:\d+ \(listen\)/,
  )
  assert.ok(!(await answers('127.0.0.1', port)))
  await end([other])
})

test('where neither loopback answers there was no connection', async () => {
  const server = answering()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = boundPort(server)
  await end([server])
  const [error] = (await once(connect(connectTarget({ kind: 'tcp', host: 'localhost', port })), 'error')) as [NodeJS.ErrnoException]
  assert.deepEqual([error.code, isConnectFault(error)], ['ECONNREFUSED', true])
  assert.equal(isConnectFault(Object.assign(new Error('reset'), { syscall: 'read' })), false)
})
