/** Settings of ours that may change while a connection lives: what is wanted, what was sent, what the peer has in force (RFC 9113 §6.5.3). */
import { writeSettings } from './frame-writer.ts'
import type { Output } from './output.ts'
import { DEFAULT_WINDOW, SETTING_INITIAL_WINDOW_SIZE, SETTING_MAX_CONCURRENT_STREAMS } from './protocol.ts'

export interface Announcement {
  readonly initialWindow?: number
  readonly streams?: number
}

/** Few are enough to follow, and a peer that never acknowledges cannot make the list grow. */
const MOST_UNACKNOWLEDGED = 4

export class OwnSettings {
  /** SETTINGS_INITIAL_WINDOW_SIZE as the peer keeps to it: it has acknowledged it. */
  initialWindow = DEFAULT_WINDOW
  readonly #output: Output
  /** Initial window of each SETTINGS that is not acknowledged. */
  readonly #sent: number[] = []
  #wantedWindow = DEFAULT_WINDOW
  #wantedStreams = Number.POSITIVE_INFINITY
  #sentStreams = Number.POSITIVE_INFINITY

  constructor(output: Output) {
    this.#output = output
  }

  /** Tells the peer of changes, now or once it has acknowledged enough of those before. @param fixed further settings, as `writeSettings` */
  announce({ initialWindow, streams }: Announcement, fixed: readonly number[] = []): void {
    if (initialWindow !== undefined) this.#wantedWindow = initialWindow
    if (streams !== undefined) this.#wantedStreams = streams
    if (this.#sent.length >= MOST_UNACKNOWLEDGED) return
    const changed = [...fixed]
    if (this.#wantedStreams !== this.#sentStreams) changed.push(SETTING_MAX_CONCURRENT_STREAMS, this.#wantedStreams)
    if (this.#wantedWindow !== (this.#sent.at(-1) ?? this.initialWindow)) changed.push(SETTING_INITIAL_WINDOW_SIZE, this.#wantedWindow)
    if (changed.length === 0) return
    this.#sentStreams = this.#wantedStreams
    this.#sent.push(this.#wantedWindow)
    writeSettings(this.#output, changed)
  }

  /** The peer acknowledged. @returns how much the initial window changed by that; undefined if there was nothing to acknowledge */
  acknowledge(): number | undefined {
    const window = this.#sent.shift()
    if (window === undefined) return undefined
    const delta = window - this.initialWindow
    this.initialWindow = window
    this.announce({})
    return delta
  }
}
