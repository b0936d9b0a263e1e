/** Loaded into the sidecar by the reload case alone: says how long its event loop was held up. Answers `reset` and `report` over IPC. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import process from 'node:process'
import { isMainThread } from 'node:worker_threads'

/** The longest of both, ms. */
export interface LoopReport {
  /** By the clock: whatever else runs on the core is in it. */
  readonly delay: number
  /** Processor time of the thread between two turns of the loop: what the program itself did. */
  readonly work: number
}

if (isMainThread) {
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  let longest = 0
  let before = process.threadCpuUsage()
  const timer = setInterval(() => {
    const { user, system } = process.threadCpuUsage(before)
    longest = Math.max(longest, user + system)
    before = process.threadCpuUsage()
  }, 1)
  timer.unref()
  process.on('message', (message) => {
    if (message === 'reset') {
      delays.reset()
      longest = 0
    } else if (message === 'report') process.send?.({ delay: delays.max / 1e6, work: longest / 1e3 } satisfies LoopReport)
  })
  process.channel?.unref()
}
