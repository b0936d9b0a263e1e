/** Time that the verdict on a peer adds to a handshake, by ways it can go. Run alone: `node bench/micro/handshake-verdict.ts`. */
import { X509Certificate } from 'node:crypto'
import { verifyPeerSocket } from '#pki/peer-from-socket'
import { readLeafFacts } from '#pki/leaf-facts'
import { clientTlsOptions, serverTlsOptions } from '#pki/tls-options'
import { createTestMesh } from '../../test/support/authority.ts'
import { listenTls } from '../../test/support/tls-pair.ts'
import { identityOf, trustIn } from '../../test/support/trust.ts'

const HANDSHAKES = 300

const mesh = await createTestMesh('a.example')
const partners = await Promise.all(Array.from({ length: 10 }, (_, index) => createTestMesh(`partner-${index}.example`)))
const identity = identityOf(await mesh.issue('/server'))
const svid = await mesh.issue('/ns/shop/sa/cart')
const { certificate } = svid
const x509 = new X509Certificate(certificate)
const issuerKey = new X509Certificate(mesh.issuer.certificate).publicKey

/** Median µs of `run`, over `samples`. */
function median(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? NaN
}

function timed(run: () => unknown): number {
  const start = process.hrtime.bigint()
  run()
  return Number(process.hrtime.bigint() - start) / 1000
}

function repeat(run: () => unknown): number {
  const samples: number[] = []
  for (let index = 0; index < 5000; index++) samples.push(timed(run))
  return median(samples.slice(1000))
}

/** Each sample is the verdict on a socket of its own, since node keeps what it has parsed of a peer. */
async function verdicts(meshes: Parameters<typeof trustIn>[0], contextIsCurrent: boolean, comesBack = false): Promise<number> {
  const trust = trustIn(meshes)
  await using listener = await listenTls(serverTlsOptions(identity, trust))
  const back = clientTlsOptions(identityOf(svid), trust)
  const samples: number[] = []
  for (let index = 0; index < HANDSHAKES; index++) {
    const client = comesBack ? back : clientTlsOptions(identityOf(await mesh.issue('/ns/shop/sa/cart')), trust)
    const { server, client: other } = await listener.connect(client)
    if (server === undefined) throw new Error('the handshake failed')
    samples.push(
      timed(() => {
        const verdict = verifyPeerSocket(server, trust, Date.now(), { contextIsCurrent })
        if (!verdict.ok) throw new Error(`${verdict.reason} ${verdict.detail}`)
      }),
    )
    other.destroy()
    server.destroy()
  }
  return median(samples.slice(50))
}

const rows: Record<string, number> = {
  readLeafFacts: repeat(() => readLeafFacts(certificate)),
  'node: new X509Certificate': repeat(() => new X509Certificate(certificate)),
  'node: verify one P-256 signature': repeat(() => x509.verify(issuerKey)),
  'verdict, who comes back': await verdicts([mesh], true, true),
  'verdict, new peer': await verdicts([mesh], true),
  'verdict, new peer just after a reload': await verdicts([mesh], false),
  'verdict, new peer, 10 domains federated': await verdicts([mesh, ...partners], true),
}
for (const [name, microseconds] of Object.entries(rows)) console.log(`${name.padEnd(40)} ${microseconds.toFixed(1).padStart(8)} µs`)
