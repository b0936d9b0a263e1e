/** The worker that parses configuration: posts one small message, waits until it is taken, posts the next, ends. */
import { once } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { readConfiguration, type ReadRequest } from './read-configuration.ts'

if (parentPort === null) throw new Error('src/config/worker.ts is started by src/config/load.ts.')
for await (const message of readConfiguration(workerData as ReadRequest)) {
  parentPort.postMessage(message)
  await once(parentPort, 'message')
}
