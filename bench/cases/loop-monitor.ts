/** Loaded into the sidecar by the reload case alone: says how long its event loop was held up. Answers `reset` and `report` over IPC. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import process from 'node:process'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) {
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  process.on('message', (message) => {
    if (message === 'reset') delays.reset()
    else if (message === 'report') process.send?.({ longestMs: delays.max / 1e6 })
  })
  process.channel?.unref()
}
