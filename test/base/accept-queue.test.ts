import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { type AcceptLimits, createAcceptQueue } from '#base/accept-queue'

interface TestSocket extends EventEmitter {
  readonly remoteAddress: string
  readonly remotePort: number
  destroyed: boolean
  destroy(): void
}

let ports = 0

function socketFrom(remoteAddress: string): TestSocket & Socket {
  const socket = Object.assign(new EventEmitter(), {
    remoteAddress,
    remotePort: ++ports,
    destroyed: false,
    destroy() {
      socket.destroyed = true
      socket.emit('close')
    },
  })
  return socket as unknown as TestSocket & Socket
}

function setUp(limits: Partial<AcceptLimits> = {}) {
  const begun: Socket[] = []
  const queue = createAcceptQueue(
    { waiting: 100, waitingPerSource: 100, inFlight: 100, inFlightPerSource: 100, perTurn: 2, ...limits },
    (socket) => void begun.push(socket),
  )
  return { begun, queue, from: () => begun.map(({ remoteAddress }) => remoteAddress) }
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))
async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn()
}

test('so many handshakes begin in a turn, and so many are in flight', async () => {
  const { begun, queue } = setUp({ inFlight: 3 })
  for (let index = 0; index < 6; index++) assert.ok(queue.push(socketFrom('a')))
  await turn()
  assert.equal(begun.length, 2)
  await turns(5)
  assert.deepEqual([begun.length, queue.inFlight, queue.waiting], [3, 3, 3])
  queue.release(begun[0]!)
  begun[1]!.destroy()
  await turns(5)
  assert.deepEqual([begun.length, queue.inFlight, queue.waiting], [5, 3, 1])
})

test('an end counts once, however it is told', async () => {
  const { begun, queue } = setUp()
  queue.push(socketFrom('a'))
  queue.push(socketFrom('b'))
  await turns(2)
  queue.release(begun[0]!)
  queue.release(begun[0]!)
  begun[0]!.destroy()
  assert.equal(queue.inFlight, 1)
})

test('source addresses take turns, and one that is silent holds up itself alone', async () => {
  const { begun, queue, from } = setUp({ inFlight: 4, inFlightPerSource: 2 })
  for (let index = 0; index < 50; index++) queue.push(socketFrom('silent'))
  for (let index = 0; index < 3; index++) queue.push(socketFrom(`other-${index}`))
  await turns(10)
  assert.deepEqual(from(), ['silent', 'other-0', 'other-1', 'other-2'])
  for (const socket of begun.slice(1)) queue.release(socket)
  await turns(10)
  assert.deepEqual(from().slice(4), ['silent'], 'no more than its share')
  queue.push(socketFrom('late'))
  await turns(2)
  assert.equal(from().at(-1), 'late')
  begun[0]!.destroy()
  await turns(2)
  assert.equal(from().at(-1), 'silent')
})

test('one source leaves room for others to wait, and the queue as a whole is bounded', () => {
  const { queue } = setUp({ waiting: 5, waitingPerSource: 3 })
  const taken = (address: string): boolean => queue.push(socketFrom(address))
  assert.deepEqual([taken('a'), taken('a'), taken('a'), taken('a')], [true, true, true, false])
  assert.deepEqual([taken('b'), taken('c'), taken('d')], [true, true, false])
})

test('who leaves while waiting is passed over, and closing ends whoever waits', async () => {
  const { begun, queue } = setUp({ perTurn: 1 })
  const [gone, stays, late] = [socketFrom('a'), socketFrom('a'), socketFrom('a')]
  for (const socket of [gone, stays, late]) queue.push(socket)
  gone.destroy()
  await turn()
  assert.deepEqual(begun, [stays])
  queue.close()
  await turns(3)
  assert.deepEqual([begun.length, late.destroyed, queue.waiting], [1, true, 0])
})

test('sources that must rest wait without holding up others, and go on by themselves', async () => {
  let rest = 20
  const { from, queue } = setUp({ restOf: (address) => (address === 'a' ? rest : 0) })
  queue.push(socketFrom('a'))
  queue.push(socketFrom('a'))
  queue.push(socketFrom('b'))
  await turns(5)
  assert.deepEqual(from(), ['b'])
  assert.equal(queue.waiting, 2)
  rest = 0
  while (queue.waiting > 0) await new Promise((resolve) => void setTimeout(resolve, 1))
  assert.deepEqual(from(), ['b', 'a', 'a'])
})
