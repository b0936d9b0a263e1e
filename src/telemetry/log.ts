/** The operational log: what the program says about itself, one line each, on stderr. */
import { pino, stdSerializers, symbols } from 'pino'
import type { DestinationStream, Logger } from 'pino'
import type { Clock } from '#base/clock'
import { createDescriptorSink } from './byte-sink.ts'
import type { ByteSink } from './byte-sink.ts'
import { createLineWriter } from './line-writer.ts'
import type { LineLoss, LineWriter } from './line-writer.ts'
import { readableLine } from './readable-line.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Facts beside a message; an error goes under `err`. Never headers, tokens, keys or query values: nothing is redacted afterwards. */
export type LogFields = Readonly<Record<string, unknown>>

export interface Log {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** Written before it returns, if that can be done without waiting. */
  fatal(fields: LogFields, message: string): void
  /** A log whose lines have these fields too. */
  child(fields: LogFields): Log
}

/** The log of a process, with what concerns it as a whole. */
export interface RootLog extends Log {
  readonly level: LogLevel
  /** Holds for every child as well. */
  setLevel(level: LogLevel): void
  /** Resolves when all lines are written, or after 1 s. */
  flush(): Promise<void>
  close(): Promise<void>
}

export interface LogOptions {
  /** The program, e.g. `sidecar`. */
  readonly name: string
  readonly clock: Clock
  /** [0, 1), for the backoff of writes that fail. */
  readonly random: () => number
  /** Default `info`. */
  readonly level?: LogLevel
  /** An open descriptor or a sink. Default 2, stderr. */
  readonly target?: number | ByteSink
  /** Lines for people instead of JSON, with or without colour: for a terminal. Default: JSON. */
  readonly readable?: 'plain' | 'colour'
}

const CAPACITY = 256 * 1024
const GATHER = 5
const FLUSH_TIMEOUT = 1000
/** pino's number of `warn`: lines from there up are the last to be lost. */
const WARN = 40
const FATAL = 60

export function createLog(options: LogOptions): RootLog {
  const { name, clock, random, level = 'info', target = 2, readable } = options
  const present = (line: string): string => (readable === undefined ? line : readableLine(line, readable === 'colour'))
  const writer = createLineWriter({
    sink: typeof target === 'number' ? createDescriptorSink(target) : target,
    capacity: CAPACITY,
    delay: GATHER,
    random,
    lossNotice: (loss) => present(lossLine(loss, name, clock.now())),
  })
  const logger = pino(
    {
      level,
      base: { name },
      timestamp: () => `,"time":"${new Date(clock.now()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err },
    },
    destination(writer, present),
  )
  return {
    ...logOf(logger),
    get level() {
      return logger.level as LogLevel
    },
    setLevel: (next) => void (logger.level = next),
    async flush() {
      await writer.flush(FLUSH_TIMEOUT)
    },
    close: () => writer.close(FLUSH_TIMEOUT),
  }
}

/** A log that says nothing, for tests and tools. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  fatal: () => undefined,
  child: () => silentLog,
}

function logOf(logger: Logger): Log {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    fatal: (fields, message) => logger.fatal(fields, message),
    child: (fields) => logOf(logger.child(fields)),
  }
}

function destination(writer: LineWriter, present: (line: string) => string): DestinationStream {
  return {
    // pino leaves the number of the level here before it writes.
    [symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write(line: string) {
      writer.push(present(line), this.lastLevel >= WARN)
      if (this.lastLevel >= FATAL) writer.flushSync()
    },
  } as DestinationStream & { readonly lastLevel: number }
}

function lossLine({ ordinary, kept }: LineLoss, name: string, now: number): string {
  const fields = { level: 'warn', time: new Date(now).toISOString(), name, count: ordinary + kept, msg: 'log lines dropped' }
  return `${JSON.stringify(fields)}\n`
}
