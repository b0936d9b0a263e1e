/** One sidecar and one app for a whole file of attacks: what was answered, recorded and received by the app, request by request. */
import type { TestSvid } from './authority.ts'
import { startRawApp } from '../fakes/apps.ts'
import { sendRaw } from './mtls-client.ts'
import { type JsonRecord, type RunningSidecar, runSidecar, type SidecarSetup } from './sidecar.ts'

export interface AppRequest {
  /** Up to and including its empty line. */
  readonly head: string
  readonly body: string
}

export interface Seen {
  /** Of the first answer; 0 if there was none. */
  readonly status: number
  /** All that came back, as latin1. */
  readonly answer: string
  /** What was recorded meanwhile. */
  readonly records: readonly JsonRecord[]
  /** Of the last record. */
  readonly reason: unknown
  /** Whole requests that reached the app meanwhile. */
  readonly requests: readonly AppRequest[]
  /** All bytes that did. */
  readonly app: string
}

export interface Probe extends AsyncDisposable {
  readonly sidecar: RunningSidecar
  /** Of `/ns/test/sa/caller`. */
  readonly svid: TestSvid
  /** Sends bytes on a connection of their own and reads until it is closed; they should ask for that, or be malformed. */
  send(bytes: string | Buffer, svid?: TestSvid): Promise<Seen>
}

/** One that allows everything unless `setup` has a policy. Not for two requests at once. */
export async function startProbe(setup: SidecarSetup = {}): Promise<Probe> {
  const requests: AppRequest[] = []
  const app = await startRawApp((socket, text) => {
    const before = counted.get(socket) ?? { at: 0 }
    counted.set(socket, before)
    for (let next = readRequest(text, before.at); next !== undefined; next = readRequest(text, before.at)) {
      before.at = next.end
      requests.push(next.request)
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    }
  })
  const counted = new Map<unknown, { at: number }>()
  const sidecar = await runSidecar({ app: app.port, ...setup })
  const svid = await sidecar.mesh.issue('/ns/test/sa/caller')
  const received = (): string => app.connections.map(({ text }) => text).join('')
  return {
    sidecar,
    svid,
    async send(bytes, caller = svid) {
      const recordsBefore = (await sidecar.records()).length
      const requestsBefore = requests.length
      const bytesBefore = received().length
      const answer = await sendRaw(sidecar.port, caller, bytes)
      const records = (await sidecar.records()).slice(recordsBefore)
      return {
        status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 0),
        answer,
        records,
        reason: records.at(-1)?.['reason'],
        requests: requests.slice(requestsBefore),
        app: received().slice(bytesBefore),
      }
    },
    async [Symbol.asyncDispose]() {
      await sidecar[Symbol.asyncDispose]()
      await app[Symbol.asyncDispose]()
    },
  }
}

/** A request as the sidecar writes it, or undefined while it is not complete. */
function readRequest(text: string, start: number): { readonly request: AppRequest; readonly end: number } | undefined {
  const headEnd = text.indexOf('\r\n\r\n', start)
  if (headEnd === -1) return undefined
  const head = text.slice(start, headEnd + 4)
  const from = headEnd + 4
  let end = from + Number(/\r\ncontent-length: (\d+)\r\n/.exec(head)?.[1] ?? 0)
  if (/\r\ntransfer-encoding: chunked\r\n/.test(head)) {
    const last = /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(text.slice(from))
    if (last === null) return undefined
    end = from + last.index + last[0].length
  }
  return end > text.length ? undefined : { request: { head, body: text.slice(from, end) }, end }
}

/** A GET on a connection that closes. Lines are further header lines. */
export function get(target: string, ...lines: readonly string[]): string {
  return ['GET ' + target + ' HTTP/1.1', 'host: h', 'connection: close', ...lines, '', ''].join('\r\n')
}
