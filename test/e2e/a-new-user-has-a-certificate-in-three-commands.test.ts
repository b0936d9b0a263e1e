/** From nothing to a certificate in hand, with the commands that are printed as what to do next; then what an operator does with it. */
import 'reflect-metadata'
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import * as x509 from '@peculiar/x509'
import { certificatesOfPem } from '#pki/pem'
import { readBundle } from '#pki/bundle'
import { verifyChain } from '#pki/path-verdict'
import { createTrustStore } from '#pki/trust-store'
import { hasProgram, openssl, temporaryFolder } from '../support/openssl.ts'
import { runPostern } from '../support/run-command.ts'

const PROJECT = join(import.meta.dirname, '..', '..')
const ID = 'spiffe://example.org/ns/shop/sa/cart'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}

interface Authority {
  readonly address: string
  readonly process: ChildProcess
  readonly records: () => string
}

async function runAuthority(t: TestContext, cwd: string, address: string): Promise<Authority> {
  const child = spawn(process.execPath, [join(PROJECT, 'src/cli/main.ts'), 'ca', 'run', '--config', 'ca/ca.yaml'], { cwd })
  t.after(() => child.kill('SIGKILL'))
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => void (out += chunk))
  const ready = Promise.withResolvers<void>()
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk
    if (err.includes('"msg":"ready"')) ready.resolve()
  })
  child.once('exit', () => ready.reject(new Error(err)))
  await ready.promise
  return { address, process: child, records: () => out }
}

test('init, run, and a token handed to a request: a certificate that every tool verifies', async (t) => {
  const cwd = temporaryFolder(t)
  const address = `127.0.0.1:${await freePort()}`
  const init = await runPostern(
    ['ca', 'init', 'ca', '--trust-domain', 'example.org', '--listen', address, '--health', `127.0.0.1:${await freePort()}`],
    { cwd },
  )
  assert.equal(init.status, 0, init.stderr)
  for (const command of [
    'postern ca run --config ca/ca.yaml',
    'postern ca token --config ca/ca.yaml',
    `postern certs request --ca ${address}`,
  ]) {
    assert.ok(init.stderr.includes(command), `${command} is printed as what comes next`)
  }
  for (const name of ['intermediate-key.pem', 'root-key.pem']) assert.equal(statSync(join(cwd, 'ca/keys', name)).mode & 0o777, 0o600)
  const authority = await runAuthority(t, cwd, address)
  const token = await runPostern(['ca', 'token', '--config', 'ca/ca.yaml', '--id', ID], { cwd })
  assert.equal(token.status, 0, token.stderr)
  const request = await runPostern(
    ['certs', 'request', '--ca', address, '--bundle', 'ca/keys/bundle.pem', '--token-file', '-', '--out', 'cart'],
    { cwd, stdin: token.stdout },
  )
  assert.equal(request.status, 0, request.stderr)

  const pem = readFileSync(join(cwd, 'cart/svid.pem'), 'utf8')
  const bundlePem = readFileSync(join(cwd, 'cart/bundle.pem'), 'utf8')
  const trust = createTrustStore('example.org', [readBundle(bundlePem, 'example.org', 'bundle.pem')])
  const verdict = verifyChain(certificatesOfPem(pem), trust, Date.now(), 'server')
  assert.ok(verdict.ok)
  assert.equal(verdict.value.id.uri, ID)
  const [leaf, intermediate] = certificatesOfPem(pem).map((der) => new x509.X509Certificate(der))
  assert.ok(await leaf?.verify({ publicKey: intermediate!, signatureOnly: true }))
  if (hasProgram('openssl', 'version')) {
    const chain = join(cwd, 'cart/svid.pem')
    assert.match(openssl(['verify', '-x509_strict', '-CAfile', join(cwd, 'cart/bundle.pem'), '-untrusted', chain, chain]), /OK/)
  }

  // The operator's side, beside the running authority.
  const again = await runPostern(
    ['certs', 'request', '--ca', address, '--bundle', 'ca/keys/bundle.pem', '--token-file', '-', '--out', 'other'],
    { cwd, stdin: token.stdout },
  )
  assert.equal(again.status, 1)
  assert.match(again.stderr, /ERR_JOIN_TOKEN_USED/)
  const renewed = await runPostern(['certs', 'request', '--ca', address, '--renew', '--out', 'cart', '--output', 'json'], { cwd })
  assert.equal(renewed.status, 0, renewed.stderr)
  const { serial } = JSON.parse(renewed.stdout) as { serial: string }
  const list = await runPostern(['ca', 'list', '--config', 'ca/ca.yaml', '--id', ID, '--output', 'json'], { cwd })
  assert.deepEqual((JSON.parse(list.stdout) as { serial: string }[]).map((each) => each.serial).slice(0, 1), [serial])
  const revoked = await runPostern(['ca', 'revoke', '--config', 'ca/ca.yaml', '--id', ID, '--reason', 'lost'], { cwd })
  assert.equal(revoked.status, 0, revoked.stderr)
  // The running authority looks at its store every second; until then the old answer stands.
  let refused = await runPostern(['certs', 'request', '--ca', address, '--renew', '--out', 'cart'], { cwd })
  for (let attempt = 0; attempt < 20 && refused.status === 0; attempt++)
    refused = await runPostern(['certs', 'request', '--ca', address, '--renew', '--out', 'cart'], { cwd })
  assert.equal(refused.status, 1)
  assert.match(refused.stderr, /ERR_SVID_REVOKED/)
  const status = await runPostern(['ca', 'rotate', 'status', '--config', 'ca/ca.yaml', '--output', 'json'], { cwd })
  assert.equal((JSON.parse(status.stdout) as { next: string }).next, 'prepare')
  assert.match(authority.records(), /"msg":"issued"/)
  assert.equal(authority.records().includes(token.stdout.trim().split('.').at(-1) ?? ''), false)

  authority.process.kill('SIGTERM')
  const [code] = (await once(authority.process, 'exit')) as [number]
  assert.equal(code, 0)
})

/** Seconds of processor that processes took which have ended and were waited for (proc(5): cutime, cstime). */
function secondsOfEnded(): number {
  const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]!.split(' ')
  return (Number(fields[13]) + Number(fields[14])) / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
}

test('what init prints as next, pasted into a shell as it is, ends with a certificate', async (t) => {
  const cwd = temporaryFolder(t)
  const bin = join(cwd, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'postern'), `#!/bin/sh\nexec '${process.execPath}' '${join(PROJECT, 'src/cli/main.ts')}' "$@"\n`, { mode: 0o755 })
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` }
  const addresses = ['--listen', `127.0.0.1:${await freePort()}`, '--health', `127.0.0.1:${await freePort()}`]
  const [before, begun] = [secondsOfEnded(), performance.now()]
  const init = spawnSync('postern', ['ca', 'init', 'ca', '--trust-domain', 'example.org', ...addresses], { cwd, env, encoding: 'utf8' })
  assert.equal(init.status, 0, init.stderr)
  const [, next = ''] = init.stderr.split('\nNext:\n')
  assert.equal([...next.matchAll(/^ {2}postern /gm)].length, 2, 'with init it is three commands')
  // The authority is the shell's own job, and ended once the certificate is there.
  const shell = spawn('sh', ['-ec', `${next}\nkill $!\nwait`], { cwd, env })
  let seconds = Number.NaN
  shell.stdout.on('data', (chunk: Buffer) => {
    if (chunk.includes('svid.pem')) seconds = (performance.now() - begun) / 1000
  })
  let said = ''
  shell.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [status] = (await once(shell, 'close')) as [number]
  assert.equal(status, 0, said)
  assert.match(said, /certs request --ca \S+ --renew --out cart/)
  const trust = createTrustStore('example.org', [
    readBundle(readFileSync(join(cwd, 'cart/bundle.pem'), 'utf8'), 'example.org', 'bundle.pem'),
  ])
  const verdict = verifyChain(certificatesOfPem(readFileSync(join(cwd, 'cart/svid.pem'), 'utf8')), trust, Date.now(), 'server')
  assert.ok(verdict.ok)
  const processor = secondsOfEnded() - before
  t.diagnostic(`from init to a certificate: ${seconds.toFixed(1)} s, ${processor.toFixed(1)} s of processor in all four processes`)
  assert.ok(processor < 5, `${processor} s of processor`)
})

test(
  'an intermediate under an existing root: by its key, or by a request that somebody else signs',
  { skip: !hasProgram('openssl', 'version') },
  async (t) => {
    const cwd = temporaryFolder(t)
    const at = (name: string): string => join(cwd, name)
    openssl([
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      at('root-key.pem'),
      '-out',
      at('root.pem'),
      '-days',
      '30',
      '-subj',
      '/O=Example/CN=Example Root',
    ])
    const direct = await runPostern(['ca', 'init', 'direct', '--trust-domain', 'example.org', '--csr'], { cwd })
    assert.equal(direct.status, 0, direct.stderr)
    writeFileSync(
      at('ext'),
      'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectAltName=URI:spiffe://example.org\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n',
    )
    openssl([
      'x509',
      '-req',
      '-in',
      at('direct/keys/intermediate.csr'),
      '-CA',
      at('root.pem'),
      '-CAkey',
      at('root-key.pem'),
      '-days',
      '20',
      '-extfile',
      at('ext'),
      '-out',
      at('signed.pem'),
    ])
    writeFileSync(at('chain.pem'), readFileSync(at('signed.pem'), 'utf8') + readFileSync(at('root.pem'), 'utf8'))
    const finished = await runPostern(['ca', 'init', 'direct', '--trust-domain', 'example.org', '--certificate', 'chain.pem'], { cwd })
    assert.equal(finished.status, 0, finished.stderr)
    assert.equal(readFileSync(at('direct/keys/bundle.pem'), 'utf8').trim(), readFileSync(at('root.pem'), 'utf8').trim())
    const status = await runPostern(['ca', 'rotate', 'status', '--config', 'direct/ca.yaml', '--output', 'json'], { cwd })
    assert.deepEqual(
      (JSON.parse(status.stdout) as { authorities: { state: string }[] }).authorities.map(({ state }) => state),
      ['active', 'active'],
    )
    const again = await runPostern(['ca', 'init', 'direct', '--trust-domain', 'example.org'], { cwd })
    assert.equal(again.status, 2)
    assert.match(again.stderr, /ERR_AUTHORITY_EXISTS/)
  },
)

test('wrong usage says what is meant, with status 2', async (t) => {
  const cwd = temporaryFolder(t)
  for (const [args, pattern] of [
    [['ca'], /which\?/],
    [['ca', 'rotat'], /Did you mean `rotate`/],
    [['ca', 'init', 'x'], /--trust-domain/],
    [['ca', 'token', '--id', ID], /--config FILE/],
    [['ca', 'run', '--config', 'none.yaml'], /none\.yaml/],
    [['ca', 'rotate', 'backwards', '--config', 'x'], /is none of status/],
    [['ca', 'revoke', '--config', 'x'], /name one of/],
    [['certs', 'request', '--out', 'x'], /--ca ADDRESS/],
  ] as const) {
    const { status, stderr } = await runPostern(args, { cwd })
    assert.equal(status, 2, args.join(' '))
    assert.match(stderr, pattern)
  }
})
