/** Unix sockets that only their owner may open, bound without a moment in which others could. */
import { lstat, stat, unlink } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import process from 'node:process'
import { PosternError } from '#base/errors'

/** Who may open a socket: its owner, its owner's group too (of the folder, where that sets it), or whoever reaches its folder. */
export const SOCKET_ACCESS = ['owner', 'group', 'everyone'] as const

export type SocketAccess = (typeof SOCKET_ACCESS)[number]

/** What is taken away from mode 0777. */
const MASKS: Readonly<Record<SocketAccess, number>> = { owner: 0o177, group: 0o117, everyone: 0o111 }

/** `sun_path` without its final NUL, on the systems we run on. */
const LONGEST_PATH = process.platform === 'darwin' ? 103 : 107

/**
 * Binds with mode 0600, or as `access` says. A socket that a dead process left behind is replaced; a live one, and anything that is no socket, is not.
 * @param key of the document, for messages
 * @throws PosternError ERR_LISTEN
 */
export async function listenPrivately(server: Server, path: string, key: string, access: SocketAccess = 'owner'): Promise<void> {
  const fail = (why: string, cause?: unknown): never => {
    throw new PosternError('ERR_LISTEN', `Cannot listen on unix:${path} (${key}): ${why}`, { cause })
  }
  // libuv would cut the path and bind another one.
  if (Buffer.byteLength(path) > LONGEST_PATH) fail(`the path is longer than ${LONGEST_PATH} bytes. Choose a shorter one.`)
  const folder = await stat(dirname(path)).catch(() => undefined)
  // libuv would call this EACCES.
  if (folder === undefined) fail('its folder does not exist, or cannot be looked into. Make it, or choose another.')
  await removeStale(path, fail)
  try {
    await bind(server, path, MASKS[access])
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EACCES' || code === 'EROFS') fail('no permission to write in its folder. Choose another.', error)
    fail(`${code ?? String(error)}.`, error)
  }
}

async function removeStale(path: string, fail: (why: string, cause?: unknown) => never): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return
  if (!found.isSocket()) fail('there is something that is not a socket. Remove it, or choose another path.')
  if (await isAlive(path)) fail('another process listens there. Stop it, or choose another path.')
  await unlink(path).catch((error: unknown) => fail('a socket left behind there cannot be removed.', error))
}

/** Only a refused connection proves that nobody listens. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'))
  })
}

async function bind(server: Server, path: string, mask: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  // `listen` binds before it returns, so the narrow mask holds for nothing else.
  const before = process.umask(mask)
  try {
    server.listen(path, resolve)
  } finally {
    process.umask(before)
  }
  try {
    await promise
  } finally {
    server.removeListener('error', reject)
  }
}
