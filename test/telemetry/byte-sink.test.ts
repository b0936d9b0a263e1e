import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { createFifo } from '../support/fifo.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const PROGRAM = `
import { createDescriptorSink } from '#telemetry/byte-sink'
const sink = createDescriptorSink(Number(process.argv[1]))
sink.write(Buffer.alloc(1 << 20, 97), 0, () => sink.write(Buffer.alloc(1 << 20, 97), 0, (error) => {
  process.stderr.write(String(error?.code) + '\\n')
  process.exit(7)
}))
`

for (const fd of [1, 3]) {
  test(`a process can exit though the pipe behind its descriptor ${fd} is full and nobody reads`, async () => {
    using fifo = createFifo()
    const stdio = fd === 1 ? (['ignore', fifo.writer, 'pipe'] as const) : (['ignore', 'ignore', 'pipe', fifo.writer] as const)
    const child = spawn(process.execPath, ['--input-type=module', '--eval', PROGRAM, String(fd)], { cwd: ROOT, stdio: [...stdio] })
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    const [status] = (await once(child, 'close')) as [number | null]
    assert.equal(said, 'EAGAIN\n')
    assert.equal(status, 7)
  })
}
