/**
 * The program of `ca-floor.ts`: `node ca-floor-server.ts PORT CHAIN.pem KEY.pem BUNDLE.pem`. A bare `tls.Server` that asks for a certificate, has
 * OpenSSL verify it, and answers whatever comes.
 */
import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import process from 'node:process'
import { createServer } from 'node:tls'

const [port, cert = '', key = '', ca = ''] = process.argv.slice(2)
const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'

createServer(
  {
    cert: readFileSync(cert),
    key: readFileSync(key),
    ca: readFileSync(ca),
    requestCert: true,
    minVersion: 'TLSv1.3',
    // As ours: nothing is resumed, so no ticket has to be sealed.
    secureOptions: constants.SSL_OP_NO_TICKET,
    noDelay: true,
  },
  (socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write(ANSWER, 'latin1'))
  },
).listen({ host: '127.0.0.1', port: Number(port) })
