/** The thread that has the SQLite file open, so that waiting for the disk never holds up the event loop. Started by `sqlite-store.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { createSqliteSession } from './sqlite-session.ts'
import type { Reply, Request, WorkerSettings } from './sqlite-messages.ts'

const port = parentPort
if (port === null) throw new Error('src/ca/store/worker.ts is started by src/ca/store/sqlite-store.ts.')
const session = createSqliteSession(workerData as WorkerSettings)
const reply = (message: Reply): void => port.postMessage(message)

reply({ type: 'open', fault: session.open() })

port.on('message', (request: Request) => {
  switch (request.type) {
    case 'writes':
      reply({ type: 'written', ...session.write(request.writes) })
      break
    case 'read':
      reply({ type: 'answer', id: request.id, ...session.read(request.read) })
      break
    case 'lead':
      reply({ type: 'answer', id: request.id, ...session.lead(request.take) })
      break
    case 'close':
      session.close()
      port.close()
  }
})
