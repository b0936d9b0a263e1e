/** The log of decisions: one JSON line for each, written without ever holding up traffic, refusals the last to be lost. */
import type { Clock } from '#base/clock'
import { createDescriptorSink } from '#telemetry/byte-sink'
import type { ByteSink } from '#telemetry/byte-sink'
import { createLineWriter } from '#telemetry/line-writer'
import type { LineLoss } from '#telemetry/line-writer'
import type { Log } from '#telemetry/log'
import type { ExchangeEvent, HandshakeEvent } from './event.ts'
import { createRecordText } from './record-text.ts'

export interface DecisionLogOptions {
  /** An open descriptor (1 for stdout), or a sink. */
  readonly target: number | ByteSink
  readonly clock: Clock
  /** [0, 1): sampling, backoff. */
  readonly random: () => number
  /** Says when records cannot be written, and when they can again. */
  readonly log: Log
  /** `refused`: only what was refused, failed, was cut, or would be decided otherwise by a shadow policy. Default `all`. */
  readonly decisions?: 'all' | 'refused'
  /** Share of the other records that is written, 0 to 1. Default 1. */
  readonly allowedSample?: number
  /** What gives way when records cannot be written: records of allowed requests, or the requests. Default `drop`. */
  readonly onOverload?: 'drop' | 'refuse'
  /** Text that may wait, in bytes. Default 4 MiB (about 6,000 records); sensible from 256 KiB. */
  readonly capacityBytes?: number
  /** The digest of a policy generation, for the record; `''` if it is not known any more. */
  readonly digestOf?: (generation: number) => string
}

export interface DecisionLogStats {
  readonly written: number
  /** Records of allowed requests that were lost for want of room. */
  readonly droppedAllowed: number
  /** Records of refused requests and handshakes that were. */
  readonly droppedRefused: number
  /** Records left out on purpose, by `decisions` and `allowedSample`. */
  readonly leftOut: number
  /** Records that `close` had to give up. */
  readonly abandoned: number
  readonly waitingBytes: number
}

export interface DecisionLog {
  exchange(event: ExchangeEvent): void
  handshake(event: HandshakeEvent): void
  /** With `onOverload: refuse`: requests must be refused with ERR_RECORDS_OVERLOADED until it is false again. */
  readonly overloaded: boolean
  /** Resolves when all records are written, or after 1 s. */
  flush(): Promise<void>
  /** For a crash: writes at once what can be. */
  flushSync(): void
  /** Writes what can be written within a second and ends. */
  close(): Promise<void>
  readonly stats: DecisionLogStats
}

const FLUSH_TIMEOUT = 1000
/** A write costs some 40 µs of CPU, most of it in handing it to another thread: worth gathering for. Ms. */
const GATHER = 10
const DEFAULT_CAPACITY = 4 * 1024 * 1024

export function createDecisionLog(options: DecisionLogOptions): DecisionLog {
  const { clock, log, decisions = 'all', allowedSample = 1, onOverload = 'drop', capacityBytes = DEFAULT_CAPACITY } = options
  const text = createRecordText({ digestOf: options.digestOf ?? (() => '') })
  const refuse = onOverload === 'refuse'
  let leftOut = 0
  let overloaded = false

  const writer = createLineWriter({
    sink: typeof options.target === 'number' ? createDescriptorSink(options.target) : options.target,
    encoding: 'latin1',
    capacity: capacityBytes,
    delay: GATHER,
    random: options.random,
    lossNotice: (loss) => lossLine(lossesOf(loss), clock.now()),
    onFailure: (error) =>
      log.error({ code: error.code, refusing: refuse }, 'decision records cannot be written; trying again until they can'),
    onRecovery: () => log.info({}, 'decision records can be written again'),
  })

  /** With `refuse`, what is kept is nearly all allowed requests: any loss there is counted as one of those. */
  function lossesOf({ ordinary, kept }: LineLoss): Losses {
    return refuse ? { droppedAllowed: kept, droppedRefused: ordinary } : { droppedAllowed: ordinary, droppedRefused: kept }
  }

  /** The half above the mark is for requests that were admitted below it and have yet to end. */
  function isOverloaded(): boolean {
    if (!refuse) return false
    const { waiting } = writer
    overloaded = waiting > capacityBytes / (overloaded ? 4 : 2)
    return overloaded
  }

  function isWanted(event: ExchangeEvent): boolean {
    if (event.reason !== undefined || event.decision?.allow !== true) return true
    const { shadow } = event.decision
    if (shadow !== undefined && !shadow.allow) return true
    if (decisions === 'refused') return false
    return allowedSample >= 1 || options.random() < allowedSample
  }

  return {
    exchange(event) {
      if (!isWanted(event)) {
        leftOut++
        return
      }
      const refused = event.decision?.allow !== true
      // Where requests are refused for want of records, those refusals are what may be lost.
      writer.push(text.exchange(event), refuse ? event.reason !== 'ERR_RECORDS_OVERLOADED' : refused)
    },
    handshake: (event) => writer.push(text.handshake(event), !refuse),
    get overloaded() {
      return isOverloaded()
    },
    async flush() {
      await writer.flush(FLUSH_TIMEOUT)
    },
    flushSync: () => writer.flushSync(),
    close: () => writer.close(FLUSH_TIMEOUT),
    get stats() {
      const { written, lost, abandoned } = writer.stats
      return { written, ...lossesOf(lost), leftOut, abandoned, waitingBytes: writer.waiting }
    },
  }
}

type Losses = Pick<DecisionLogStats, 'droppedAllowed' | 'droppedRefused'>

function lossLine({ droppedAllowed, droppedRefused }: Losses, now: number): string {
  return `${JSON.stringify({
    time: new Date(now).toISOString(),
    level: 'warn',
    msg: 'records dropped',
    count: droppedAllowed + droppedRefused,
    allowed: droppedAllowed,
    refused: droppedRefused,
  })}\n`
}
