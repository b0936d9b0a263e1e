/** A log that keeps its lines for assertions. */
import type { Log, LogFields } from '#telemetry/log'

export interface RecordedLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'fatal'
  readonly message: string
  readonly fields: LogFields
}

export interface RecordingLog extends Log {
  readonly lines: readonly RecordedLine[]
}

export function createRecordingLog(): RecordingLog {
  const lines: RecordedLine[] = []
  const to = (level: RecordedLine['level']) => (fields: LogFields, message: string) => void lines.push({ level, message, fields })
  const log: RecordingLog = {
    lines,
    debug: to('debug'),
    info: to('info'),
    warn: to('warn'),
    error: to('error'),
    fatal: to('fatal'),
    child: () => log,
  }
  return log
}
