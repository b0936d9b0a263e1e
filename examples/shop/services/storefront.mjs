/** The storefront: what customers see; asks the cart through its own sidecar's outbound port. */
import { createServer } from 'node:http'

const cart = process.env.CART_URL ?? 'http://127.0.0.1:7101'

const server = createServer(async (request, response) => {
  const { searchParams } = new URL(request.url ?? '/', 'http://storefront')
  const user = searchParams.get('user') ?? 'ada'
  const answer = await fetch(`${cart}/cart/${encodeURIComponent(user)}`)
  if (!answer.ok) return text(response, 502, `The cart answered ${answer.status}.\n`)
  const { items } = await answer.json()
  const lines = items.map((item) => (item.error === undefined ? `- ${item.name}, ${item.price} coins` : `- item ${item.id}: ${item.error}`))
  return text(response, 200, `Cart of ${user}:\n${lines.join('\n')}\n`)
})

function text(response, status, body) {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

server.listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? '127.0.0.1')
