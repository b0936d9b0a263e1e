/** The program of the contender `node-floor.ts`: `node node-floor-server.ts OPTIONS.json`. */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import process from 'node:process'
import { createServer } from 'node:tls'
import { readBundle } from '#pki/bundle'
import { serverTlsOptions } from '#pki/tls-options'
import { createTrustStore } from '#pki/trust-store'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { TRUST_DOMAIN } from '../environment/certificates.ts'

interface FloorOptions {
  readonly port: number
  readonly upstreamPort: number
  readonly certificate: string
  readonly key: string
  readonly bundle: string
}

const [file = ''] = process.argv.slice(2)
const options = JSON.parse(readFileSync(file, 'utf8')) as FloorOptions
const read = (name: string): string => readFileSync(name, 'utf8')
const identity = readWorkloadIdentity({ certificatePem: read(options.certificate), keyPem: read(options.key) })
const trust = createTrustStore(TRUST_DOMAIN, [readBundle(read(options.bundle), TRUST_DOMAIN, options.bundle)])

createServer({ ...serverTlsOptions(identity, trust, { alpnProtocols: ['http/1.1'] }), noDelay: true }, (caller) => {
  caller.on('error', () => {})
  if (!caller.authorized) {
    caller.destroy()
    return
  }
  const app = connect({ host: '127.0.0.1', port: options.upstreamPort, noDelay: true })
  app.on('error', () => caller.destroy())
  caller.pipe(app).pipe(caller)
}).listen({ host: '127.0.0.1', port: options.port, backlog: 4096 })
