/** Whether a request's body comes fast enough (slow bodies hold a connection, a stream and the app's patience). */
import type { ReasonCode } from '#base/reasons'

export class BodyPace {
  /** Ms since the epoch, and bytes by then: where the present window began. */
  #since: number
  #bytes = 0

  constructor(startedAt: number) {
    this.#since = startedAt
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
