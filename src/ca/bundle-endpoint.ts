/**
 * The bundle for other trust domains (SPIFFE Federation §5): over `https_web`, with a certificate of the public web from files, or over
 * `https_spiffe`, with the CA's own SVID. It asks nobody for a certificate.
 */
import { readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { TlsOptions } from 'node:tls'
import type { Clock } from '#base/clock'
import { PosternError } from '#base/errors'
import { boundPort, listen } from '#base/sockets'
import type { BundleEndpointConfig } from '#config/ca-config'
import { webServerTlsOptions } from '#pki/tls-options'
import type { WorkloadIdentity } from '#pki/workload-identity'
import type { Log } from '#telemetry/log'
import type { Published } from './published.ts'

export interface BundleEndpoint {
  readonly port: number
  /** Takes over another certificate of the CA's own. */
  apply(identity: WorkloadIdentity): void
  close(): Promise<void>
}

export interface BundleEndpointOptions {
  readonly config: BundleEndpointConfig
  readonly identity: WorkloadIdentity
  readonly published: Pick<Published, 'current'>
  readonly clock: Clock
  readonly log: Log
}

const FILES_INTERVAL = 1_000
const TIMEOUT = 10_000

/** @throws PosternError ERR_LISTEN, ERR_CONFIG_FILE */
export async function openBundleEndpoint({ config, identity, published, log }: BundleEndpointOptions): Promise<BundleEndpoint> {
  let own = identity
  let stamp = stampOf(config)
  const server = createServer({ ...tlsOptions(), headersTimeout: TIMEOUT, requestTimeout: TIMEOUT, keepAliveTimeout: TIMEOUT }, serve)
  server.on('tlsClientError', (_error, socket) => void socket.destroy())
  server.maxConnections = 1_000

  function serve({ url = '', method, headers: asked }: IncomingMessage, response: ServerResponse): void {
    const { bundleText, etag } = published.current
    const [path = ''] = url.split('?', 1)
    const headers = { etag, 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' }
    if (path !== '/' && path !== '/v1/bundle') response.writeHead(404).end()
    else if (method !== 'GET' && method !== 'HEAD') response.writeHead(405, { allow: 'GET, HEAD' }).end()
    else if (asked['if-none-match'] === etag) response.writeHead(304, headers).end()
    else {
      response.writeHead(200, { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(bundleText) })
      response.end(method === 'HEAD' ? undefined : bundleText)
    }
  }

  function tlsOptions(): TlsOptions {
    if (config.files === undefined) return webServerTlsOptions(own)
    try {
      return webServerTlsOptions({
        certificatePem: readFileSync(config.files.certificate, 'utf8'),
        keyPem: readFileSync(config.files.key, 'utf8'),
      })
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new PosternError('ERR_CONFIG_FILE', `The certificate of the bundle endpoint cannot be read: ${why}.`, { cause })
    }
  }

  function reload(): void {
    try {
      server.setSecureContext(tlsOptions())
    } catch (error) {
      log.error({ err: error }, 'the new certificate of the bundle endpoint cannot be used; the old one stays')
    }
  }

  const timer = setInterval(() => {
    const latest = stampOf(config)
    if (latest === stamp || latest === '') return
    stamp = latest
    reload()
  }, FILES_INTERVAL).unref()
  await listen(server, config.listen, 'spec.bundleEndpoint.listen')
  return {
    port: boundPort(server),
    apply(next) {
      if (next === own) return
      own = next
      if (config.files === undefined) reload()
    },
    async close() {
      clearInterval(timer)
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Changes when one of the files does; `''` while one is not there. */
function stampOf({ files }: BundleEndpointConfig): string {
  if (files === undefined) return ''
  try {
    return [files.certificate, files.key].map((path) => `${statSync(path).mtimeMs} ${statSync(path).ino}`).join()
  } catch {
    return ''
  }
}
