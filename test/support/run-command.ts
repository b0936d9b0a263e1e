/** Runs commands as users do: as a child process, or in this process with the streams caught. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { PosternError } from '#base/errors'
import type { Command, CommandIo } from '#cli/command'

const PROJECT = join(import.meta.dirname, '..', '..')

export interface CommandRun {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly stdin?: string | Buffer
  readonly env?: Readonly<Record<string, string>>
  readonly colour?: boolean
}

/** `postern …args` from the sources. */
export async function runPostern(args: readonly string[], { cwd, stdin = '', env }: RunOptions = {}): Promise<CommandRun> {
  const child = spawn(process.execPath, [join(PROJECT, 'src', 'cli', 'main.ts'), ...args], { cwd, env: { ...process.env, ...env } })
  child.stdin.end(stdin)
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1))),
  ])
  return { status, stdout, stderr }
}

/** A command (or its subcommand, if `args` begin with one) in this process. What it throws as `PosternError` becomes status 2, as in `main`. */
export async function runInProcess(command: Command, args: readonly string[], options: RunOptions = {}): Promise<CommandRun> {
  const [first = '', ...rest] = args
  const load = command.subcommands?.[first]
  if (load !== undefined) return runInProcess(await load(), rest, options)
  const output = { stdout: '', stderr: '' }
  const sink = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        output[name] += chunk.toString('latin1')
        done()
      },
    })
  const io: CommandIo = {
    stdin: Readable.from([options.stdin ?? '']),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
    colour: options.colour ?? false,
  }
  const status = await command.run(args, io).catch((error: unknown) => {
    if (!(error instanceof PosternError)) throw error
    io.stderr.write(`postern: ${error.message} (${error.code})\n`)
    return 2
  })
  const decode = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8')
  return { status, stdout: decode(output.stdout), stderr: decode(output.stderr) }
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
