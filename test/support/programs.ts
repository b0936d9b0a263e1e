/** Programs of other makers that tests run as peers: found, run to their end, or run until the test is over. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import process from 'node:process'

/** Servers that Debian keeps out of the path. */
const ELSEWHERE = ['/usr/lib/postgresql/*/bin']

/** Path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  const found = spawnSync('which', [name], { encoding: 'utf8' }).stdout?.trim()
  if (found !== undefined && found !== '') return found
  return ELSEWHERE.flatMap((folder) => globSync(`${folder}/${name}`))
    .toSorted()
    .at(-1)
}

/** For `skip`: the sentence that says which are absent, or false. */
export function absent(...names: readonly string[]): string | false {
  const missing = names.filter((name) => findProgram(name) === undefined)
  return missing.length > 0 && `there is no ${missing.join(', no ')} here`
}

export interface ProgramRun {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: string | Buffer
  readonly cwd?: string
}

export async function runProgram(
  name: string,
  args: readonly string[],
  { env = {}, stdin = '', cwd }: RunOptions = {},
): Promise<ProgramRun> {
  const child = spawn(findProgram(name) ?? name, args, { env: { ...process.env, ...env }, ...(cwd === undefined ? {} : { cwd }) })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('latin1').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('latin1').on('data', (text: string) => (output.stderr += text))
  child.stdin.on('error', () => {})
  child.stdin.end(stdin)
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, ...output }
}

const live = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of live) child.kill('SIGKILL')
})

/** A server that runs until it is disposed of. */
export function startProgram(
  name: string,
  args: readonly string[],
  signal: NodeJS.Signals = 'SIGTERM',
): AsyncDisposable & { readonly child: ChildProcess } {
  const child = spawn(findProgram(name) ?? name, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.resume()
  child.stderr.resume()
  live.add(child)
  const exited = once(child, 'exit').then(() => live.delete(child))
  return {
    child,
    async [Symbol.asyncDispose]() {
      child.kill(signal)
      await exited
    },
  }
}

/** Resolves once something accepts connections on a port of loopback. */
export async function acceptsConnections(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const accepted = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (accepted) return
    await new Promise((resolve) => void setTimeout(resolve, 50))
  }
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  await new Promise((resolve) => void server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
