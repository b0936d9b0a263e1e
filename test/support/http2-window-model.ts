/**
 * One honest end of an HTTP/2 connection as the RFC has it, and nothing more: the oracle for flow control. It keeps to the windows it
 * was given, and throws at whoever does not keep to the windows it gave.
 */
import assert from 'node:assert/strict'
import { ACK, data, END_STREAM, framesOf, paddedData, reset, settings, settingsAck, windowUpdate } from './http2-frames.ts'

const INITIAL = 65_535

interface ModelStream {
  /** What we may send, and what the other end may. */
  send: number
  receive: number
  sentEnd: boolean
  gotEnd: boolean
  gotHead: boolean
  /** DATA received and not credited yet. */
  owed: number
}

export class WindowModel {
  readonly streams = new Map<number, ModelStream>()
  /** Streams that are over. Frames under way may still come for those that this end reset. */
  readonly gone = new Map<number, 'ended' | 'reset' | 'reset by the other'>()
  connectionSend = INITIAL
  connectionReceive = INITIAL
  /** DATA received and not credited yet, on the connection. */
  owed = 0
  /** New streams since they were taken last. */
  opened: number[] = []
  goingAway = false
  readonly #name: string
  #initialSend = INITIAL
  #initialReceive = INITIAL
  /** Settings of the other end that are not acted upon yet, and of ours that are not acknowledged. */
  readonly #theirs: (number | undefined)[] = []
  readonly #ours: number[] = []
  #out: Buffer[] = []

  constructor(name: string) {
    this.#name = name
  }

  get unacknowledged(): number {
    return this.#ours.length
  }

  takeOutput(): Buffer {
    const bytes = Buffer.concat(this.#out)
    this.#out = []
    return bytes
  }

  write(bytes: Buffer): void {
    this.#out.push(bytes)
  }

  /** What comes from the relay. */
  receive(bytes: Buffer): void {
    for (const { type, flags, stream: id, payload } of framesOf(bytes)) {
      const end = (flags & END_STREAM) !== 0
      if (type === 'SETTINGS') {
        if ((flags & ACK) === 0) this.#theirs.push(windowIn(payload))
        else this.#onAck()
      } else if (type === 'WINDOW_UPDATE') this.#onCredit(id, payload.readUInt32BE())
      else if (type === 'DATA') this.#onData(id, payload.length, end)
      else if (type === 'HEADERS') this.#onHeaders(id, end)
      else if (type === 'RST_STREAM') {
        assert.ok(this.streams.has(id) || this.gone.has(id), `${this.#name}: RST_STREAM on idle stream ${id}`)
        if (this.streams.delete(id)) this.gone.set(id, 'reset by the other')
      } else if (type === 'GOAWAY') {
        assert.equal(payload.readUInt32BE(4), 0, `${this.#name} was sent away with an error`)
        this.goingAway = true
      } else assert.fail(`${this.#name}: unexpected ${type}`)
    }
  }

  open(id: number, head: Buffer, end: boolean): void {
    this.streams.set(id, { send: this.#initialSend, receive: this.#initialReceive, sentEnd: end, gotEnd: false, gotHead: false, owed: 0 })
    this.write(head)
  }

  /** A head or trailers of ours on a stream that is open already. */
  sendHead(id: number, head: Buffer, end: boolean): void {
    this.write(head)
    const stream = this.streams.get(id)
    if (stream !== undefined && end) this.#endSent(id, stream)
  }

  /** Sends what the windows allow of so much. */
  sendData(id: number, wanted: number, padding: number | undefined, end: boolean): void {
    const stream = this.streams.get(id)
    if (stream === undefined || stream.sentEnd) return
    const overhead = padding === undefined ? 0 : padding + 1
    const room = Math.min(stream.send, this.connectionSend, 16_384) - overhead
    if (room < 0) return
    const size = Math.min(wanted, room)
    stream.send -= size + overhead
    this.connectionSend -= size + overhead
    this.write(padding === undefined ? data(id, size, end) : paddedData(id, size, padding, end))
    if (end) this.#endSent(id, stream)
  }

  reset(id: number, code = 8): void {
    if (!this.streams.delete(id)) return
    this.gone.set(id, 'reset')
    this.write(reset(id, code))
  }

  creditConnection(extra: number): void {
    const bytes = this.owed + extra
    if (bytes === 0) return
    this.owed = 0
    this.connectionReceive += bytes
    this.write(windowUpdate(0, bytes))
  }

  creditStream(id: number, extra: number): void {
    const stream = this.streams.get(id)
    const bytes = stream === undefined ? 0 : stream.owed + extra
    if (stream === undefined || bytes === 0) return
    stream.owed = 0
    stream.receive += bytes
    this.write(windowUpdate(id, bytes))
  }

  announceWindow(bytes: number): void {
    this.#ours.push(bytes)
    this.write(settings([4, bytes]))
  }

  /** Acts upon the oldest settings of the other end. */
  acknowledge(): void {
    if (this.#theirs.length === 0) return
    const window = this.#theirs.shift()
    if (window !== undefined) {
      for (const stream of this.streams.values()) stream.send += window - this.#initialSend
      this.#initialSend = window
    }
    this.write(settingsAck())
  }

  get hasSettings(): boolean {
    return this.#theirs.length > 0
  }

  /** First frame of an end: its settings. */
  greet(bytes: number): void {
    this.announceWindow(bytes)
  }

  #onAck(): void {
    const window = this.#ours.shift()
    assert.ok(window !== undefined, `${this.#name}: an acknowledgement of nothing`)
    for (const stream of this.streams.values()) stream.receive += window - this.#initialReceive
    this.#initialReceive = window
  }

  #onCredit(id: number, bytes: number): void {
    assert.ok(bytes > 0, `${this.#name}: credit of 0`)
    if (id === 0) {
      this.connectionSend += bytes
      assert.ok(this.connectionSend <= 2 ** 31 - 1)
      return
    }
    const stream = this.streams.get(id)
    if (stream === undefined) return assert.ok(this.gone.has(id), `${this.#name}: credit on idle stream ${id}`)
    stream.send += bytes
    assert.ok(stream.send <= 2 ** 31 - 1)
  }

  #onData(id: number, size: number, end: boolean): void {
    this.connectionReceive -= size
    assert.ok(this.connectionReceive >= 0, `${this.#name}: DATA beyond the window of the connection`)
    this.owed += size
    const stream = this.streams.get(id)
    if (stream === undefined) return assert.equal(this.gone.get(id), 'reset', `${this.#name}: DATA on stream ${id}`)
    assert.ok(!stream.gotEnd, `${this.#name}: DATA after END_STREAM`)
    assert.ok(stream.gotHead, `${this.#name}: DATA before HEADERS`)
    stream.receive -= size
    assert.ok(size === 0 || stream.receive >= 0, `${this.#name}: DATA beyond the window of stream ${id}`)
    stream.owed += size
    if (end) this.#endGot(id, stream)
  }

  #onHeaders(id: number, end: boolean): void {
    const known = this.streams.get(id)
    if (known === undefined && this.gone.has(id)) return assert.equal(this.gone.get(id), 'reset', `${this.#name}: HEADERS on stream ${id}`)
    const stream = known ?? {
      send: this.#initialSend,
      receive: this.#initialReceive,
      sentEnd: false,
      gotEnd: false,
      gotHead: false,
      owed: 0,
    }
    if (known === undefined) {
      this.streams.set(id, stream)
      this.opened.push(id)
    }
    assert.ok(!stream.gotEnd, `${this.#name}: HEADERS after END_STREAM`)
    stream.gotHead = true
    if (end) this.#endGot(id, stream)
  }

  #endSent(id: number, stream: ModelStream): void {
    stream.sentEnd = true
    this.#settle(id, stream)
  }

  #endGot(id: number, stream: ModelStream): void {
    stream.gotEnd = true
    this.#settle(id, stream)
  }

  #settle(id: number, stream: ModelStream): void {
    if (!stream.sentEnd || !stream.gotEnd) return
    this.streams.delete(id)
    this.gone.set(id, 'ended')
  }
}

/** INITIAL_WINDOW_SIZE of a SETTINGS frame, if it has one. */
function windowIn(payload: Buffer): number | undefined {
  let window: number | undefined
  for (let at = 0; at < payload.length; at += 6) if (payload.readUInt16BE(at) === 4) window = payload.readUInt32BE(at + 2)
  return window
}
