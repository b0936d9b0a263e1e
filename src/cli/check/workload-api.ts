/** Checks of an identity that comes from a SPIFFE Workload API: asked once, as the sidecar asks, and judged as the sidecar judges. */
import { systemClock } from '#base/clock'
import { PosternError } from '#base/errors'
import { type Address, formatAddress } from '#base/units'
import type { WorkloadApiIdentityConfig } from '#config/sidecar-config'
import { type Accepted, acceptUpdate } from '#svid-source/workload-api-state'
import { createWorkloadApiClient, type X509Update } from '#workload-api/client'
import { parseEndpointAddress } from '#workload-api/endpoint-address'
import { type CheckResult, judged, passed, skipped } from './catalogue.ts'
import { checkAuthorities, checkTimes, type CheckedIdentity } from './identity.ts'

/** Ms for the first answer: an agent that knows the workload has it at hand. */
const PATIENCE = 5_000

/** @param endpointSocket SPIFFE_ENDPOINT_SOCKET, for a document that does not say where */
export async function checkWorkloadApiIdentity(
  config: WorkloadApiIdentityConfig,
  endpointSocket: string | undefined,
  offline: boolean,
): Promise<CheckedIdentity> {
  let address: Address
  try {
    address = config.socket ?? parseEndpointAddress(endpointSocket ?? '')
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    const unset = endpointSocket === undefined || endpointSocket === ''
    const why = unset ? 'Neither `spec.identity.workloadApi.socket` nor SPIFFE_ENDPOINT_SOCKET says where it is.' : error.message
    return { results: [judged('workload-api-answers', [`${why} (${error.code})`])], identity: undefined }
  }
  if (offline) return { results: [], identity: undefined }
  const answer = await askOnce(address)
  if (typeof answer === 'string') {
    const results = [judged('workload-api-answers', [answer]), skipped('workload-api-identity', 'there is no answer to look at')]
    return { results, identity: undefined }
  }
  const offered = answer.svids.map(({ id }) => id).join(', ')
  return judge(answer, config, formatAddress(address), [passed('workload-api-answers', `It offers ${offered}.`)])
}

/** @returns why there is no answer */
async function askOnce(address: Address): Promise<X509Update | string> {
  const client = createWorkloadApiClient(address)
  const patience = AbortSignal.timeout(PATIENCE)
  try {
    for await (const update of client.watchX509(patience)) return update
    return `The Workload API at ${client.name} ended its stream.`
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    if (patience.aborted) return `The Workload API at ${client.name} has not answered in ${PATIENCE / 1000} seconds.`
    return `${error.message} (${error.code})`
  } finally {
    client.close()
  }
}

function judge(update: X509Update, wanted: WorkloadApiIdentityConfig, name: string, results: CheckResult[]): CheckedIdentity {
  const now = systemClock.now()
  let accepted: Accepted
  try {
    accepted = acceptUpdate(update, undefined, { name, wanted, jwtBundles: new Map(), now })
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return { results: [...results, judged('workload-api-identity', [`${error.message} (${error.code})`])], identity: undefined }
  }
  const { identity, trust, problems } = accepted
  results.push(
    problems.length === 0 ? passed('workload-api-identity', identity.id.uri) : judged('workload-api-identity', problems, 'warning'),
    ...checkTimes(identity.facts.notBefore, identity.facts.notAfter, now),
    checkAuthorities([...trust.bundles.values()], now),
  )
  return { results, identity: accepted }
}
