/**
 * What runs in the pods of the cluster's tests. Without arguments, a service that says who called; `get URL`, one call; `load URL SECONDS RATE`,
 * many, and what became of them. It listens at HOST, on IPv6 alone if IPV6_ONLY is set.
 */
const http = require('node:http')
const os = require('node:os')

const [what, url, seconds, rate] = process.argv.slice(2)

if (what === undefined) {
  const server = http.createServer((request, response) => {
    if (request.url === '/healthz') response.end('ok')
    else {
      const caller = request.headers['x-postern-principal'] ?? null
      // Who answers is told where that is asked.
      response.end(JSON.stringify({ path: request.url, caller, ...(request.url === '/who' && { pod: os.hostname() }) }))
    }
  })
  server.listen({ port: 8080, host: process.env.HOST ?? '0.0.0.0', ipv6Only: process.env.IPV6_ONLY !== undefined })
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
} else if (what === 'get') {
  http
    .get(url, { timeout: 5000 }, (response) => {
      let body = ''
      response.on('data', (chunk) => (body += chunk)).on('end', () => console.log(`${response.statusCode} ${body}`))
    })
    .on('timeout', (request) => request.destroy())
    .on('error', (error) => console.log(error.code ?? error.message))
} else {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 20 })
  const seen = {}
  let open = 0
  const count = (result) => {
    seen[result] = (seen[result] ?? 0) + 1
    open--
  }
  const end = Date.now() + Number(seconds) * 1000
  const timer = setInterval(
    () => {
      if (Date.now() > end) {
        clearInterval(timer)
        const wait = setInterval(() => {
          if (open > 0 && Date.now() < end + 10_000) return
          clearInterval(wait)
          console.log(JSON.stringify(seen))
          process.exit()
        }, 50)
        return
      }
      open++
      http
        .get(url, { agent }, (response) => response.resume().on('end', () => count(response.statusCode)))
        .on('error', (error) => count(error.code ?? error.message))
    },
    1000 / Number(rate),
  )
}
