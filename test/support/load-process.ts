/** The process that `startLoad` forks: keep-alive callers on bare TLS sockets, which cost little beside what they measure. */
import process from 'node:process'
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import type { LoadOptions, LoadOrder, LoadReply, LoadResult } from './load.ts'

interface Caller {
  socket: TLSSocket
  /** Ms at which the request that runs was due, or the connection was opened; undefined between requests. */
  since: number | undefined
  text: string
  answered: () => void
}

let callers: Caller[] = []
let options: LoadOptions
let secureContext: SecureContext
let stopped = false
let sent = 0
let requests = 0
let latencies: number[] = []
const statuses: Record<string, number> = {}
/** Due times of requests that found every connection busy: they wait, and their waiting counts. */
const overdue: number[] = []

function open(answered: () => void): Caller {
  const { port } = options
  const caller: Caller = {
    socket: connect({ port, host: '127.0.0.1', secureContext, rejectUnauthorized: false }),
    since: performance.now(),
    text: '',
    answered,
  }
  const { socket } = caller
  socket.setNoDelay(true)
  socket.setEncoding('latin1')
  socket.on('secureConnect', () => send(caller, performance.now()))
  socket.on('data', (chunk: string) => onData(caller, chunk))
  socket.on('error', () => {})
  socket.on('close', () => {
    if (stopped || caller.socket !== socket || !callers.includes(caller)) return
    count(0)
    callers = callers.map((other) => (other === caller ? open(caller.answered) : other))
  })
  return caller
}

function send(caller: Caller, due: number): void {
  const paths = options.paths ?? ['/']
  caller.since = due
  caller.socket.write(`GET ${paths[sent++ % paths.length]} HTTP/1.1\r\nhost: h\r\n\r\n`)
}

function onData(caller: Caller, chunk: string): void {
  caller.text += chunk
  const end = caller.text.indexOf('\r\n\r\n')
  if (end === -1) return
  const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(caller.text)?.[1] ?? 0)
  if (caller.text.length < end + 4 + length) return
  const status = Number(caller.text.slice(9, 12))
  caller.text = ''
  count(status)
  latencies.push(performance.now() - (caller.since ?? 0))
  caller.since = undefined
  caller.answered()
  caller.answered = () => {}
  if (stopped) return
  if (options.perSecond === 'idle') return
  const due = options.perSecond === undefined ? performance.now() : overdue.shift()
  if (due !== undefined) send(caller, due)
}

function count(status: number): void {
  requests++
  statuses[status] = (statuses[status] ?? 0) + 1
}

/** @returns when each has been answered */
function dialAll(): Promise<unknown> {
  const answers: Promise<void>[] = []
  callers = Array.from({ length: options.connections }, () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    answers.push(promise)
    return open(resolve)
  })
  return Promise.all(answers)
}

/** Requests are due at even times, whether earlier ones were answered or not. */
function pace(perSecond: number): void {
  const begun = performance.now()
  let due = 0
  setInterval(() => {
    for (; due < ((performance.now() - begun) / 1000) * perSecond && !stopped; due++) {
      const at = begun + (due / perSecond) * 1000
      const free = callers.find((caller) => caller.since === undefined)
      if (free === undefined) overdue.push(at)
      else send(free, at)
    }
  }, 1)
}

function takeResult(): LoadResult {
  const sorted = latencies.toSorted((a, b) => a - b)
  latencies = []
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN
  return { requests, statuses: { ...statuses }, p50: at(0.5), p99: at(0.99), longest: at(1) }
}

async function stop(): Promise<LoadResult> {
  stopped = true
  while (callers.some(({ since, socket }) => since !== undefined && !socket.destroyed))
    await new Promise((resolve) => void setTimeout(resolve, 5))
  for (const { socket } of callers) socket.destroy()
  return takeResult()
}

async function start(given: LoadOptions): Promise<LoadReply> {
  options = given
  secureContext = createSecureContext({ cert: options.svid.certificatePem, key: options.svid.keyPem })
  await dialAll()
  if (typeof options.perSecond === 'number') pace(options.perSecond)
  return { started: true }
}

async function redial(): Promise<LoadReply> {
  const old = callers
  callers = []
  for (const { socket } of old) socket.destroy()
  const begun = performance.now()
  await dialAll()
  return { milliseconds: performance.now() - begun }
}

async function obey(message: LoadOrder): Promise<LoadReply> {
  if (message.order === 'start') return start(message.options)
  if (message.order === 'redial') return redial()
  return { result: message.order === 'mark' ? takeResult() : await stop() }
}

process.on('message', (message: LoadOrder) => {
  void obey(message).then((reply) => process.send?.(reply))
})
process.on('disconnect', () => process.exit())
