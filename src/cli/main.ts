#!/usr/bin/env node
/** The `postern` command: finds the subcommand, loads it, turns what it throws into an exit status. */
import process from 'node:process'
import { PosternError } from '#base/errors'
import { nearest } from '#base/suggest'
import type { Command, CommandIo, ExitStatus } from './command.ts'

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import('./demo.ts')).demoCommand,
  sidecar: async () => (await import('./sidecar.ts')).sidecarCommand,
  policy: async () => (await import('./policy.ts')).policyCommand,
  explain: async () => (await import('./explain.ts')).explainCommand,
  check: async () => (await import('./check.ts')).checkCommand,
  ca: async () => (await import('./ca.ts')).caCommand,
  drain: async () => (await import('./drain.ts')).drainCommand,
  certs: async () => (await import('./certs.ts')).certs,
  controller: async () => (await import('./controller.ts')).controllerCommand,
  inject: async () => (await import('./inject.ts')).injectCommand,
  install: async () => (await import('./install.ts')).installCommand,
  redirect: async () => (await import('./redirect.ts')).redirectCommand,
}

/** What is imported below does not even parse on an older one. */
const LEAST_NODE = 26

async function main(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const [name = '--help', ...rest] = args
  if (name === '--version' || name === '-V' || name === 'version') {
    const { VERSION } = await import('./version.ts')
    io.stdout.write(`postern ${VERSION} (Node ${process.version})\n`)
    return 0
  }
  if (Number.parseInt(process.version.slice(1), 10) < LEAST_NODE) {
    io.stderr.write(`postern: needs Node ${LEAST_NODE} or later, and this is ${process.version} (${process.execPath}).\n`)
    return 2
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    io.stdout.write(await overview())
    return 0
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (load === undefined) {
    const meant = nearest(name, Object.keys(COMMANDS))
    io.stderr.write(
      `postern: there is no command \`${name}\`.${meant === undefined ? '' : ` Did you mean \`${meant}\`?`} \`postern --help\` lists them.\n`,
    )
    return 2
  }
  return runCommand(await load(), rest, io)
}

async function runCommand(command: Command, args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const [first = '', ...rest] = args
  const load = command.subcommands !== undefined && Object.hasOwn(command.subcommands, first) ? command.subcommands[first] : undefined
  if (load !== undefined) return runCommand(await load(), rest, io)
  if (args.includes('--help') || args.includes('-h')) {
    io.stdout.write(command.help)
    return 0
  }
  return command.run(args, io)
}

async function overview(): Promise<string> {
  const rows = await Promise.all(Object.entries(COMMANDS).map(async ([name, load]) => `  ${name.padEnd(10)} ${(await load()).summary}`))
  return `postern: authorizes service-to-service traffic\n\n${rows.join('\n')}\n\nEach has --help with an example; --version says which this is.\n`
}

function report(error: unknown, io: CommandIo): ExitStatus {
  if (error instanceof PosternError) {
    io.stderr.write(`postern: ${error.message} (${error.code})\n`)
    return 2
  }
  io.stderr.write(
    `postern: this is a bug in Postern; please report it with what follows.\n${error instanceof Error ? error.stack : String(error)}\n`,
  )
  return 70
}

const io: CommandIo = {
  // To touch it is to load streams of files: most commands never do.
  get stdin() {
    return process.stdin
  },
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
}
process.exitCode = await main(process.argv.slice(2), io).catch((error: unknown) => report(error, io))
