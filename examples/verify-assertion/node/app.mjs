// An app that takes requests only with an assertion of the sidecar beside it, and answers with the caller's SPIFFE ID.
import { createServer } from 'node:http'
import process from 'node:process'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const { PORT = '8080', ASSERTION_KEYS, ASSERTION_ISSUER, ASSERTION_AUDIENCE } = process.env

// Fetched when needed, kept, and fetched again when a key is unknown, at most every ten seconds.
const keys = createRemoteJWKSet(new URL(ASSERTION_KEYS), { cooldownDuration: 10_000 })

async function callerOf(request) {
  const assertion = request.headers['x-postern-assertion']
  if (typeof assertion !== 'string') return undefined
  try {
    const { payload } = await jwtVerify(assertion, keys, {
      algorithms: ['ES256'],
      issuer: ASSERTION_ISSUER,
      audience: ASSERTION_AUDIENCE,
      requiredClaims: ['exp', 'sub'],
    })
    return payload
  } catch {
    return undefined
  }
}

const server = createServer(async (request, response) => {
  const caller = await callerOf(request)
  if (caller === undefined) response.writeHead(401).end('no valid assertion\n')
  else response.end(`${caller.sub}\n`)
})

server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on 127.0.0.1:${server.address().port}`))
