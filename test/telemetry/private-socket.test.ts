import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { listenPrivately } from '#telemetry/private-socket'

function withFolder(title: string, body: (folder: string) => Promise<void>): void {
  void test(title, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-socket-'))
    try {
      await body(folder)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}

async function closed(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

withFolder('the socket is for its owner alone, whatever the mask of the process, and the mask is as before', async (folder) => {
  const path = join(folder, 's')
  const before = process.umask(0)
  try {
    const server = createServer()
    await listenPrivately(server, path, 'spec.admin')
    assert.equal(lstatSync(path).mode & 0o777, 0o600)
    assert.equal(process.umask(), 0)
    await closed(server)
    assert.equal(existsSync(path), false)
  } finally {
    process.umask(before)
  }
})

withFolder('a socket that a dead process left behind is replaced', async (folder) => {
  const path = join(folder, 's')
  const program = join(folder, 'dies.mjs')
  writeFileSync(
    program,
    "import { createServer } from 'node:net'\ncreateServer().listen(process.argv[2], () => process.send('up', () => process.kill(process.pid, 'SIGKILL')))\n",
  )
  const child = fork(program, [path])
  await once(child, 'exit')
  assert.ok(lstatSync(path).isSocket())
  const server = createServer((socket) => socket.end('new'))
  await listenPrivately(server, path, 'spec.admin')
  const caller = connect(path)
  const [said] = (await once(caller, 'data')) as [Buffer]
  assert.equal(said.toString(), 'new')
  await closed(server)
})

withFolder('a socket that a live process serves is left to it', async (folder) => {
  const path = join(folder, 's')
  const first = createServer((socket) => socket.on('error', () => undefined).end('first'))
  await listenPrivately(first, path, 'spec.admin')
  await assert.rejects(listenPrivately(createServer(), path, 'spec.admin'), {
    code: 'ERR_LISTEN',
    message: `Cannot listen on unix:${path} (spec.admin): another process listens there. Stop it, or choose another path.`,
  })
  const [said] = (await once(connect(path), 'data')) as [Buffer]
  assert.equal(said.toString(), 'first')
  await closed(first)
})

const OTHERS: readonly { readonly what: string; readonly make: (path: string, folder: string) => void }[] = [
  { what: 'a file', make: (path) => writeFileSync(path, 'precious') },
  { what: 'a folder', make: (path) => mkdirSync(path) },
  {
    what: 'a link to a file',
    make(path, folder) {
      writeFileSync(join(folder, 'file'), 'precious')
      symlinkSync(join(folder, 'file'), path)
    },
  },
]

for (const { what, make } of OTHERS) {
  withFolder(`${what} in the place of the socket is not touched`, async (folder) => {
    const path = join(folder, 's')
    make(path, folder)
    await assert.rejects(listenPrivately(createServer(), path, 'spec.admin'), /not a socket/)
    assert.equal(lstatSync(path).isSocket(), false)
    if (what === 'a file') assert.equal(readFileSync(path, 'utf8'), 'precious')
  })
}

withFolder('a path that the system would cut is refused', async (folder) => {
  await assert.rejects(listenPrivately(createServer(), join(folder, 'x'.repeat(120)), 'spec.admin'), /longer than \d+ bytes/)
})

withFolder('a folder that does not exist is named as what is wrong', async (folder) => {
  await assert.rejects(listenPrivately(createServer(), join(folder, 'none', 's'), 'spec.admin'), /its folder does not exist/)
})
