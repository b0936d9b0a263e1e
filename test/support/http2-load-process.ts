/** The process that `startLoad` forks for callers over HTTP/2. */
import { type ClientHttp2Session, connect } from 'node:http2'
import process from 'node:process'
import { createSecureContext } from 'node:tls'
import type { LoadOptions, LoadOrder, LoadReply, LoadResult } from './load.ts'

interface Caller {
  readonly session: ClientHttp2Session
  busy: boolean
}

const callers: Caller[] = []
/** When requests were due that found every caller busy: they wait, and their waiting counts. */
const overdue: number[] = []
const statuses: Record<string, number> = {}
let latencies: number[] = []
let requests = 0
let stopped = false

function send(caller: Caller, due: number): Promise<void> {
  caller.busy = true
  return new Promise((resolve) => {
    const stream = caller.session.request({ ':path': '/' })
    let status = 0
    stream.on('response', (headers) => {
      status = Number(headers[':status'])
    })
    stream.on('error', () => {})
    stream.resume()
    stream.on('close', () => {
      requests++
      statuses[status] = (statuses[status] ?? 0) + 1
      latencies.push(performance.now() - due)
      caller.busy = false
      resolve()
      const next = overdue.shift()
      if (next !== undefined && !stopped) void send(caller, next)
    })
  })
}

async function start({ port, svid, connections, perSecond }: LoadOptions): Promise<LoadReply> {
  if (typeof perSecond !== 'number') throw new TypeError('Callers over HTTP/2 need a pace.')
  const secureContext = createSecureContext({ cert: svid.certificatePem, key: svid.keyPem })
  for (let index = 0; index < connections; index++) {
    const session = connect(`https://127.0.0.1:${port}`, { secureContext, rejectUnauthorized: false, ALPNProtocols: ['h2'] })
    session.on('error', () => {})
    callers.push({ session, busy: false })
  }
  await Promise.all(callers.map((caller) => send(caller, performance.now())))
  const begun = performance.now()
  let due = 0
  setInterval(() => {
    for (; due < ((performance.now() - begun) / 1000) * perSecond && !stopped; due++) {
      const at = begun + (due / perSecond) * 1000
      const free = callers.find(({ busy }) => !busy)
      if (free === undefined) overdue.push(at)
      else void send(free, at)
    }
  }, 1)
  return { started: true }
}

function takeResult(): LoadResult {
  const sorted = latencies.toSorted((a, b) => a - b)
  latencies = []
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN
  return { requests, statuses: { ...statuses }, p50: at(0.5), p99: at(0.99), longest: at(1) }
}

async function obey(message: LoadOrder): Promise<LoadReply> {
  if (message.order === 'start') return start(message.options)
  if (message.order === 'redial') throw new TypeError('Callers over HTTP/2 do not redial.')
  if (message.order === 'mark') return { result: takeResult() }
  stopped = true
  while (callers.some(({ busy, session }) => busy && !session.destroyed)) await new Promise((resolve) => void setTimeout(resolve, 5))
  for (const { session } of callers) session.destroy()
  return { result: takeResult() }
}

process.on('message', (message: LoadOrder) => {
  void obey(message).then((reply) => process.send?.(reply))
})
process.on('disconnect', () => process.exit())
