/** The app behind every contender: nginx answering from memory on the load's core. Its cost is not counted, but it counts requests. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { CORES } from './cores.ts'
import { accepts, freePort, waitUntil } from './ports.ts'
import { end, start } from './processes.ts'

/** What a contender serves, and speaks to the app. */
export type Protocol = 'http1' | 'http2' | 'tcp'

export interface Upstream extends AsyncDisposable {
  /** HTTP/1.1 for `http1` and `tcp`, h2c for `http2`. */
  port(protocol: Protocol): number
  /** Requests answered so far, of all protocols. */
  requests(): Promise<number>
}

/** Answered with 1 KB. */
export const REQUEST_PATH = '/catalog/items/42'
/** Answered with a body of `LARGE_BYTES`. */
export const DOWNLOAD_PATH = '/catalog/items/large'
/** Answered once all of the body was read. */
export const UPLOAD_PATH = '/catalog/items/upload'
/** A unary call, answered with a message of 1 KB and trailers. */
export const GRPC_SERVICE = 'shop.Catalog'
export const GRPC_PATH = `/${GRPC_SERVICE}/GetItem`

export const LARGE_BYTES = 16 * 1024 * 1024

export interface Payloads {
  /** A file of `LARGE_BYTES`. */
  readonly large: string
  /** A gRPC message of 64 bytes with its prefix. */
  readonly message: string
}

/** The length-prefixed message of gRPC over HTTP/2. */
function grpcMessage(bytes: number): Buffer {
  const message = Buffer.alloc(5 + bytes, 0x61)
  message.writeUInt8(0, 0)
  message.writeUInt32BE(bytes, 1)
  return message
}

export function writePayloads(folder: string): Payloads {
  const own = join(folder, 'payloads')
  mkdirSync(own, { recursive: true })
  const write = (name: string, bytes: Buffer): string => {
    const file = join(own, name)
    if (!existsSync(file)) writeFileSync(file, bytes)
    return file
  }
  write('answer', grpcMessage(1024))
  return { large: write('large', Buffer.alloc(LARGE_BYTES, 0x61)), message: write('message', grpcMessage(64)) }
}

/** Else its worker would give up root and could not read the scratch folder. */
const AS_ROOT = process.getuid?.() === 0 ? 'user root; ' : ''

export async function startUpstream(folder: string): Promise<Upstream> {
  const port = await freePort()
  const h2Port = await freePort()
  const statusPort = await freePort()
  const { large } = writePayloads(folder)
  const file = join(folder, 'upstream.conf')
  // A POST to a file is refused with 405, which is where the body, read in full for the mirror's sake, gets its answer.
  const locations = `
    location / { default_type application/json; return 200 "${'x'.repeat(1024)}"; }
    location = ${DOWNLOAD_PATH} { default_type application/octet-stream; alias ${large}; }
    location = ${UPLOAD_PATH} { mirror /nowhere; alias ${large}; error_page 405 =200 /stored; }
    location = /stored { return 200 "stored"; }
    location = /nowhere { internal; return 204; }
    location = ${GRPC_PATH} { mirror /nowhere; alias ${large}; error_page 405 =200 /answer; }
    location = /answer { internal; default_type application/grpc; add_trailer grpc-status 0; root ${folder}/payloads; }`
  writeFileSync(
    file,
    `${AS_ROOT}daemon off; worker_processes 1; pid ${folder}/upstream.pid; error_log ${folder}/upstream.log warn;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; http2_max_concurrent_streams 1024;
  client_max_body_size 0; client_body_buffer_size 32m; open_file_cache max=10 inactive=3600s; sendfile on;
  server { listen 127.0.0.1:${port} backlog=4096; ${locations}
  }
  server { listen 127.0.0.1:${h2Port} http2 backlog=4096; ${locations}
  }
  server { listen 127.0.0.1:${statusPort}; location / { stub_status; } }
}
`,
  )
  const child = start('nginx', ['-p', folder, '-c', file], { core: CORES.load, stdio: ['ignore', 'ignore', 'inherit'] })
  await waitUntil(() => accepts(port), child, 'the upstream')
  let asked = 0
  return {
    port: (protocol) => (protocol === 'http2' ? h2Port : port),
    async requests() {
      const text = await (await fetch(`http://127.0.0.1:${statusPort}/`)).text()
      asked += 1
      return Number(/^ \d+ \d+ (\d+) $/m.exec(text)?.[1]) - asked
    },
    [Symbol.asyncDispose]: () => end(child),
  }
}
