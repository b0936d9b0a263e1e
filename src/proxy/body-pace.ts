/** Whether a request's body comes fast enough, and its response is taken fast enough: who is slow holds a connection, a stream and the app's patience. */
import type { ReasonCode } from '#base/reasons'

export class BodyPace {
  /** Ms since the epoch, and bytes by then: where the present window began. */
  #since: number
  #bytes: number

  constructor(startedAt: number, bytes = 0) {
    this.#since = startedAt
    this.#bytes = bytes
  }

  /**
   * @param bytes of the body so far
   * @param held the sender could not send: the window begins anew
   * @param window ms
   * @param rate bytes a second; a byte in a window is always the least
   * @returns why the body is too slow, once a window has passed
   */
  check(now: number, bytes: number, held: boolean, window: number, rate: number): ReasonCode | undefined {
    const passed = now - this.#since
    if (!held && passed <= window) return undefined
    const came = bytes - this.#bytes
    this.#since = now
    this.#bytes = bytes
    if (held) return undefined
    if (came === 0) return 'ERR_BODY_TIMEOUT'
    return came < (rate * passed) / 1000 ? 'ERR_BODY_RATE' : undefined
  }
}

/** What is written to a socket waits in whole writes: time in which none of them was taken is all that can be told. */
export interface Writing {
  readonly bytesWritten: number
  /** Of those, what waits. */
  readonly writableLength: number
}

/** Whether the far end of a socket takes what waits for it. */
export class ReaderPace {
  #pace: BodyPace | undefined

  /** Call it every second. @param window ms @param rate bytes a second @returns true once a window has passed in which too little was taken */
  stalls(now: number, { bytesWritten, writableLength }: Writing, window: number, rate: number): boolean {
    if (writableLength === 0) {
      this.#pace = undefined
      return false
    }
    const taken = bytesWritten - writableLength
    this.#pace ??= new BodyPace(now, taken)
    return this.#pace.check(now, taken, false, window, rate) !== undefined
  }
}
