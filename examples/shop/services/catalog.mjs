/** The catalog: what the shop sells. Listens on 127.0.0.1 only; its sidecar decides who may ask what. */
import { createServer } from 'node:http'

const items = new Map([
  ['1', { id: '1', name: 'Lantern', price: 25 }],
  ['2', { id: '2', name: 'Rope', price: 12 }],
  ['3', { id: '3', name: 'Whetstone', price: 7 }],
])

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://catalog')
  const who = request.headers['x-postern-principal'] ?? 'nobody known'
  if (pathname === '/catalog/items') return json(response, 200, [...items.values()])
  if (pathname === '/catalog/internal/stock') return json(response, 200, { lantern: 3, rope: 40, whetstone: 12 })
  if (pathname === '/catalog/whoami') return json(response, 200, { principal: who, xfcc: request.headers['x-forwarded-client-cert'] })
  if (pathname === '/catalog/changes') return streamChanges(response)
  const item = items.get(pathname.split('/')[3] ?? '')
  return item === undefined ? json(response, 404, { error: 'no such item' }) : json(response, 200, item)
})

/** A response that does not end by itself: one line every 200 ms. */
function streamChanges(response) {
  response.writeHead(200, { 'content-type': 'text/plain' })
  let count = 0
  const timer = setInterval(() => response.write(`change ${++count}\n`), 200)
  response.on('close', () => clearInterval(timer))
}

function json(response, status, value) {
  const body = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

server.listen(Number(process.env.PORT ?? 8082), process.env.HOST ?? '127.0.0.1')
