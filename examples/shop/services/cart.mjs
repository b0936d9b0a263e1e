/** The cart: asks the catalog for every item, through its own sidecar's outbound port. */
import { createServer } from 'node:http'

const catalog = process.env.CATALOG_URL ?? 'http://127.0.0.1:7102'
const carts = new Map([['ada', ['1', '3']]])

const server = createServer(async (request, response) => {
  const [, , user = '', what] = (request.url ?? '/').split('/')
  const cart = carts.get(user) ?? []
  if (request.method === 'POST' && what === 'items') {
    let body = ''
    for await (const chunk of request) body += chunk
    carts.set(user, [...cart, body.trim()])
    return json(response, 201, { user, items: carts.get(user) })
  }
  const found = []
  for (const id of cart) {
    const answer = await fetch(`${catalog}/catalog/items/${encodeURIComponent(id)}`)
    found.push(answer.ok ? await answer.json() : { id, error: `catalog answered ${answer.status}` })
  }
  return json(response, 200, { user, items: found })
})

function json(response, status, value) {
  const body = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

server.listen(Number(process.env.PORT ?? 8081), process.env.HOST ?? '127.0.0.1')
