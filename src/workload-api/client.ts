/** Speaks to a SPIFFE Workload API: SPIRE's agent, or a sidecar of ours. What comes out is checked for what is mandatory, and for no more. */
import { connect } from 'node:net'
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect'
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node'
import { PosternError } from '#base/errors'
import type { ReasonCode } from '#base/reasons'
import { type Address, formatAddress } from '#base/units'
import type { JwtSvid } from './source.ts'
import { SpiffeWorkloadAPI, type X509SVIDResponse } from './generated/spiffe/workload_pb.ts'

/** One identity that the Workload API offers. */
export interface OfferedSvid {
  readonly id: string
  /** DER, leaf first, one behind the other. */
  readonly chain: Uint8Array
  /** PKCS#8 DER. */
  readonly key: Uint8Array
  /** DER certificates of its trust domain, one behind the other. */
  readonly bundle: Uint8Array
  /** `''` for none. */
  readonly hint: string
}

/** The whole state: what is absent was withdrawn (SPIFFE_Workload_API §4.4). */
export interface X509Update {
  /** At least one; the default first. */
  readonly svids: readonly OfferedSvid[]
  /** ID of a foreign trust domain → DER certificates, one behind the other. */
  readonly federated: ReadonlyMap<string, Uint8Array>
}

/** Everything rejects with a PosternError whose code starts with `ERR_WORKLOAD_API_`. Streams end only so. */
export interface WorkloadApiClient {
  /** `unix:/path` or `host:port`. */
  readonly name: string
  watchX509(signal: AbortSignal): AsyncIterable<X509Update>
  /** ID of a trust domain → JWK Set, as text. */
  watchJwtBundles(signal: AbortSignal): AsyncIterable<ReadonlyMap<string, string>>
  fetchJwtSvid(id: string, audience: readonly string[], signal: AbortSignal): Promise<JwtSvid>
  close(): void
}

/** More would not be a workload's. */
const LARGEST_MESSAGE = 16 * 1024 * 1024

export function createWorkloadApiClient(address: Address): WorkloadApiClient {
  const name = formatAddress(address)
  const createConnection = (): ReturnType<typeof connect> =>
    address.kind === 'unix' ? connect(address.path) : connect(address.port, address.host)
  // The name of the host goes into `:authority` and says nothing.
  const sessionManager = new Http2SessionManager('http://localhost', {}, { createConnection })
  const transport = createGrpcTransport({
    baseUrl: 'http://localhost',
    interceptors: [withSecurityHeader],
    acceptCompression: [],
    readMaxBytes: LARGEST_MESSAGE,
    sessionManager,
  })
  const api = createClient(SpiffeWorkloadAPI, transport)

  async function* watch<M, T>(messages: AsyncIterable<M>, read: (message: M) => T): AsyncGenerator<T> {
    try {
      for await (const message of messages) yield read(message)
    } catch (error) {
      throw explain(error, name)
    }
    throw new PosternError('ERR_WORKLOAD_API_UNREACHABLE', `The Workload API at ${name} ended its stream.`)
  }

  return {
    name,
    watchX509: (signal) => watch(api.fetchX509SVID({}, { signal }), (message) => readX509(message, name)),
    watchJwtBundles: (signal) =>
      watch(api.fetchJWTBundles({}, { signal }), ({ bundles }) => {
        if (Object.keys(bundles).length === 0) throw malformed(name, '`bundles` is empty')
        return new Map(Object.entries(bundles).map(([id, bytes]) => [id, new TextDecoder().decode(bytes)]))
      }),
    async fetchJwtSvid(id, audience, signal) {
      try {
        const { svids } = await api.fetchJWTSVID({ audience: [...audience], spiffeId: id }, { signal })
        const found = svids.find(({ spiffeId }) => spiffeId === id)
        if (found === undefined || found.svid === '') throw malformed(name, `there is no JWT-SVID of ${id} in it`)
        return { token: found.svid, expiresAt: expiryOf(found.svid) }
      } catch (error) {
        throw explain(error, name)
      }
    },
    close: () => sessionManager.abort(),
  }
}

/** SPIFFE_Workload_Endpoint §3. */
const withSecurityHeader: Interceptor = (next) => (request) => {
  request.header.set('workload.spiffe.io', 'true')
  return next(request)
}

/** Nothing of it is verified here: the token is passed on to the app whose it is. @returns ms since the epoch; 0 where it does not say */
function expiryOf(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { readonly exp?: unknown }
    return typeof exp === 'number' ? exp * 1000 : 0
  } catch {
    return 0
  }
}

/** SPIFFE_Workload_API §4.5: a mandatory field that has its default value is reported, and the message discarded. */
function readX509({ svids, federatedBundles }: X509SVIDResponse, name: string): X509Update {
  if (svids.length === 0) throw malformed(name, '`svids` is empty')
  return {
    svids: svids.map(({ spiffeId, x509Svid, x509SvidKey, bundle, hint }, index) => {
      const fields = { spiffe_id: spiffeId, x509_svid: x509Svid, x509_svid_key: x509SvidKey, bundle }
      const absent = Object.entries(fields).find(([, value]) => value.length === 0)?.[0]
      if (absent !== undefined) throw malformed(name, `\`svids[${index}].${absent}\` is empty`)
      return { id: spiffeId, chain: x509Svid, key: x509SvidKey, bundle, hint }
    }),
    federated: new Map(Object.entries(federatedBundles)),
  }
}

function malformed(name: string, why: string): PosternError {
  return new PosternError('ERR_WORKLOAD_API_ANSWER', `The Workload API at ${name} sent a message that is discarded: ${why}.`)
}

const REASONS: Partial<Readonly<Record<Code, ReasonCode>>> = {
  [Code.PermissionDenied]: 'ERR_WORKLOAD_API_DENIED',
  // SPIFFE_Workload_Endpoint §6, SPIFFE_Workload_API §7: not to be asked again.
  [Code.InvalidArgument]: 'ERR_WORKLOAD_API_REFUSED',
  [Code.Unimplemented]: 'ERR_WORKLOAD_API_REFUSED',
}

function explain(error: unknown, name: string): PosternError {
  if (error instanceof PosternError) return error
  const { code, rawMessage } = ConnectError.from(error)
  const said = `${Code[code]}${rawMessage === '' ? '' : `: ${rawMessage}`}`
  const reason = REASONS[code] ?? 'ERR_WORKLOAD_API_UNREACHABLE'
  return new PosternError(reason, `The Workload API at ${name} gives no answer that can be used (${said}).`, { cause: error })
}
