/** Redis and its clients, unmodified, as opaque TCP through two sidecars. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { temporaryFolder } from '../../support/openssl.ts'
import { absent, acceptsConnections, freePort, runProgram, startProgram } from '../../support/programs.ts'
import { runSidecarPair } from '../../support/sidecar-pair.ts'

test(
  'redis-cli and redis-benchmark: commands, large values, pipelines, many clients',
  { skip: absent('redis-server', 'redis-cli', 'redis-benchmark') },
  async (t) => {
    const port = await freePort()
    await using server = startProgram('redis-server', [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      temporaryFolder(t),
    ])
    assert.ok(server.child.pid !== undefined)
    await acceptsConnections(port)
    await using pair = await runSidecarPair(port, 'tcp')
    const redis = (args: readonly string[], stdin?: string | Buffer) =>
      runProgram('redis-cli', ['-p', String(pair.port), ...args], stdin === undefined ? {} : { stdin })
    assert.equal((await redis(['ping'])).stdout, 'PONG\n')
    const value = randomBytes(4_000_000).toString('hex')
    assert.equal((await redis(['-x', 'set', 'large'], value)).stdout, 'OK\n')
    assert.ok((await redis(['get', 'large'])).stdout === `${value}\n`)
    const commands = Array.from({ length: 5000 }, (_, index) => `SET key:${index} ${index}\r\n`).join('')
    const piped = await redis(['--pipe'], commands)
    assert.match(piped.stdout, /errors: 0, replies: 5000/, piped.stdout + piped.stderr)
    assert.equal((await redis(['get', 'key:4999'])).stdout, '4999\n')
    const bench = await runProgram('redis-benchmark', [
      '-p',
      String(pair.port),
      '-n',
      '5000',
      '-c',
      '50',
      '-P',
      '4',
      '-q',
      '-t',
      'set,get,lrange_100',
      '--csv',
    ])
    assert.equal(bench.status, 0, bench.stderr)
    assert.equal(bench.stdout.match(/^"(SET|GET|LRANGE_100)/gm)?.length, 3, bench.stdout)
    t.diagnostic(bench.stdout.split('\n').slice(1, 3).join(' '))
  },
)
