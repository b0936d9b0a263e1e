/** The worker that parses configuration: posts one small message, waits until it is taken, posts the next, ends. */
import { once } from 'node:events'
import { getHeapStatistics, queryObjects } from 'node:v8'
import { parentPort, workerData } from 'node:worker_threads'
import { readConfiguration, type ReadRequest } from './read-configuration.ts'

/** Bytes; what little documents leave is not worth the time that it takes to collect it. */
const LARGE_HEAP = 64 * 1024 * 1024

if (parentPort === null) throw new Error('src/config/worker.ts is started by src/config/load.ts.')
for await (const message of readConfiguration(workerData as ReadRequest)) {
  parentPort.postMessage(message)
  await once(parentPort, 'message')
}

// V8 keeps the pages of a thread that ends for the threads that go on, hundreds of MB after ten thousand rules. Looking for objects of a
// kind collects the garbage first, to the last page: there is little left to keep then. (V8's flag against it would cost every start
// 40 ms: with it, Node's own modules are compiled anew instead of taken from their code cache.)
if (getHeapStatistics().total_heap_size > LARGE_HEAP) queryObjects(FinalizationRegistry)
