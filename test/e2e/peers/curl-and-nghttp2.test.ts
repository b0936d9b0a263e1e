/** `curl` and the tools of nghttp2, unmodified, against a sidecar with their own certificates, and through two sidecars. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { answerWithLength, startH2cApp } from '../../fakes/h2c-app.ts'
import { writeSvid } from '../../support/authority.ts'
import { temporaryFolder } from '../../support/openssl.ts'
import { absent, runProgram } from '../../support/programs.ts'
import { runSidecar, type RunningSidecar } from '../../support/sidecar.ts'
import { runSidecarPair } from '../../support/sidecar-pair.ts'

const MIB = 1024 * 1024
const H2 = '      protocol: http2\n'

/** Certificate options of curl, and of nghttp and h2load, for a caller of the sidecar. */
async function credentials(t: TestContext, sidecar: RunningSidecar): Promise<{ folder: string; certificate: string; key: string }> {
  const folder = temporaryFolder(t)
  return { folder, ...writeSvid(folder, await sidecar.mesh.issue('/ns/test/sa/caller')) }
}

test('curl over HTTP/2 and mutual TLS: GET, upload, download, trailers, refusals', { skip: absent('curl') }, async (t) => {
  const body = randomBytes(5 * MIB)
  await using app = await startH2cApp((stream, headers) => {
    if (headers[':path'] === '/download') {
      stream.respond({ ':status': 200 }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'of all' }))
      stream.end(body)
    } else answerWithLength(stream, headers)
  })
  await using sidecar = await runSidecar({ app: app.port, inbound: H2, policy: '- allow: { and: [http_path: { not: /no }] }\n' })
  const { folder, certificate, key } = await credentials(t, sidecar)
  const curl = (path: string, ...args: readonly string[]) =>
    runProgram('curl', ['-sS', '--http2', '-k', '--cert', certificate, '--key', key, ...args, `https://127.0.0.1:${sidecar.port}${path}`])
  const plain = await curl('/', '-w', ' %{http_version} %{http_code}')
  assert.equal(plain.stdout, '0 2 200', plain.stderr)
  writeFileSync(join(folder, 'up'), body)
  const upload = await curl('/upload', '-T', join(folder, 'up'), '-H', 'expect:')
  assert.equal(upload.stdout, String(body.length), upload.stderr)
  const download = await curl('/download', '-o', join(folder, 'down'), '-D', join(folder, 'headers'))
  assert.equal(download.status, 0, download.stderr)
  const sum = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
  assert.equal(sum(readFileSync(join(folder, 'down'))), sum(body))
  assert.match(readFileSync(join(folder, 'headers'), 'latin1'), /x-sum: of all/)
  const refused = await curl('/no', '-w', '%{http_code}')
  assert.equal(refused.stdout, '403', refused.stderr)
  const only1 = await runProgram('curl', [
    '-sS',
    '--http1.1',
    '-k',
    '--cert',
    certificate,
    '--key',
    key,
    `https://127.0.0.1:${sidecar.port}/`,
  ])
  assert.notEqual(only1.status, 0, 'HTTP/1.1 is not spoken here')
})

test('curl with prior knowledge, through two sidecars', { skip: absent('curl') }, async () => {
  await using app = await startH2cApp(answerWithLength)
  await using pair = await runSidecarPair(app.port, 'http2')
  const answer = await runProgram('curl', [
    '-sS',
    '--http2-prior-knowledge',
    '--data-binary',
    'hello',
    '-w',
    ' %{http_version} %{http_code}',
    `http://127.0.0.1:${pair.port}/`,
  ])
  assert.equal(answer.stdout, '5 2 200', answer.stderr)
})

test('nghttp asks for many resources on one connection', { skip: absent('nghttp') }, async (t) => {
  await using app = await startH2cApp(answerWithLength)
  await using sidecar = await runSidecar({ app: app.port, inbound: H2 })
  const { certificate, key } = await credentials(t, sidecar)
  const address = `https://127.0.0.1:${sidecar.port}`
  const run = await runProgram('nghttp', ['-v', '-n', '-m', '20', `--cert=${certificate}`, `--key=${key}`, `${address}/a`, `${address}/b`])
  assert.equal(run.status, 0, run.stderr)
  assert.equal(run.stdout.match(/:status: 200/g)?.length, 40, run.stdout.slice(-2000))
  assert.doesNotMatch(run.stdout, /recv RST_STREAM/)
})

test('h2load: 20 connections of 20 streams, through two sidecars', { skip: absent('h2load') }, async (t) => {
  await using app = await startH2cApp(answerWithLength)
  await using pair = await runSidecarPair(app.port, 'http2')
  const run = await runProgram('h2load', ['-n', '4000', '-c', '20', '-m', '20', '-p', 'h2c', `http://127.0.0.1:${pair.port}/`])
  assert.match(run.stdout, /4000 succeeded, 0 failed, 0 errored, 0 timeout/, run.stdout + run.stderr)
  t.diagnostic(/^finished in .*$/m.exec(run.stdout)?.[0] ?? '')
  const bodies = await runProgram('h2load', [
    '-n',
    '50',
    '-c',
    '5',
    '-m',
    '5',
    '-H',
    'x-bytes: 1000000',
    '-p',
    'h2c',
    `http://127.0.0.1:${pair.port}/`,
  ])
  assert.match(bodies.stdout, /50 succeeded, 0 failed, 0 errored, 0 timeout/, bodies.stdout + bodies.stderr)
})
