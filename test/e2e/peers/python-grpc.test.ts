/** gRPC's own C core, as Python brings it, unmodified, as client and as server, through two sidecars. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { createEchoClient, startEchoServer } from '../../fakes/grpc-echo.ts'
import { absent, runProgram } from '../../support/programs.ts'
import { CALLER, runSidecarPair } from '../../support/sidecar-pair.ts'

const SCRIPT = join(import.meta.dirname, '..', '..', 'fakes', 'grpc_echo.py')
const VERSION = '1.85.3'
/** A virtual environment, kept for the next run. */
const FOLDER =
  process.env['POSTERN_PYTHON'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'postern-tests', `grpcio-${VERSION}`)
const PYTHON = join(FOLDER, 'bin', 'python')

/** Makes sure of a Python with grpcio, from PyPI if need be. @returns the sentence that says why there is none, or false */
function missingPython(): string | false {
  const works = (): boolean => spawnSync(PYTHON, ['-c', 'import grpc']).status === 0
  if (works()) return false
  const python3 = absent('python3')
  if (python3 !== false) return python3
  const steps: readonly (readonly [string, readonly string[]])[] = [
    ['python3', ['-m', 'venv', FOLDER]],
    [PYTHON, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary', ':all:', `grpcio==${VERSION}`]],
  ]
  for (const [program, args] of steps) {
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 120_000 })
    if (status !== 0) return `grpcio cannot be had: ${`${stdout}${stderr}`.trim().split('\n').at(-1)}`
  }
  return !works() && 'grpcio does not work here'
}

const skip = missingPython()

async function startPythonServer(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = spawn(PYTHON, [SCRIPT, 'serve'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(server, 'exit')
  const [line] = (await once(createInterface({ input: server.stdout }), 'line')) as [string]
  return {
    port: Number(line),
    async [Symbol.asyncDispose]() {
      // It serves until its input ends.
      server.stdin.end()
      await exited
    },
  }
}

test('a Python client and a Python server: every kind of call, statuses, metadata, 10 MiB, deadline, 300 at once', { skip }, async () => {
  await using server = await startPythonServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  const run = await runProgram(PYTHON, [SCRIPT, 'call', String(pair.port)])
  assert.equal(run.stdout, `principal ${CALLER}\nall is well\n`, run.stderr)
})

test('a Python server with a client on Node', { skip }, async () => {
  await using server = await startPythonServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  using client = createEchoClient(pair.port)
  const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => client.unary(Buffer.alloc(index * 1000))))
  assert.deepEqual(
    answers.map(({ code, message }) => [code, message?.length]),
    answers.map((_, index) => [0, index * 1000]),
  )
})

test('a server on Node takes back-pressure from a Python client’s stream', { skip }, async () => {
  await using server = await startEchoServer()
  await using pair = await runSidecarPair(server.port, 'http2')
  const program = `
import grpc, sys
with grpc.insecure_channel("127.0.0.1:${pair.port}") as channel:
    print(channel.stream_unary("/test.Echo/Collect")(iter([b"x" * 100000] * 300), timeout=60).decode())
`
  const run = await runProgram(PYTHON, ['-c', program])
  assert.equal(run.stdout, '300 30000000\n', run.stderr)
})
