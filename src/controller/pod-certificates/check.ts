/**
 * Whether a request may be what it says. The API server checks that only where a node asks: whoever else may create such objects could be any
 * workload, so pod, service account and node are looked up, as they are now, and held against every word of the request.
 */
import { PosternError } from '#base/errors'
import type { KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { checkPossession } from '#pki/possession'
import { decodeRequest, readSvidRequest } from '#pki/svid-request'
import type { Outcome, PodCertificateRequest } from './request.ts'

type Denied = Extract<Outcome, { readonly type: 'Denied' | 'Failed' }>

interface PodAsked extends KubeObject {
  readonly spec?: {
    readonly serviceAccountName?: string
    readonly nodeName?: string
    readonly volumes?: readonly {
      readonly projected?: { readonly sources?: readonly { readonly podCertificate?: { readonly signerName?: string } }[] }
    }[]
  }
  readonly status?: { readonly phase?: string }
}

/** @returns why it is denied; undefined if it may be issued @throws PosternError ERR_KUBE_… where nobody can be asked */
export async function checkRequest(client: KubeClient, request: PodCertificateRequest): Promise<Denied | undefined> {
  const { namespace = '' } = request.metadata
  const { podName, podUID, serviceAccountName, serviceAccountUID, nodeName, nodeUID, signerName, unverifiedUserAnnotations } = request.spec
  const unknown = Object.keys(unverifiedUserAnnotations ?? {})
  if (unknown.length > 0)
    return denied('InvalidUnverifiedUserAnnotations', `this signer knows no annotations, such as ${unknown.slice(0, 3).join(', ')}`)
  const key = checkKey(request)
  if (key !== undefined) return key

  const [pod, account, node] = await Promise.all([
    find<PodAsked>(client, { group: '', version: 'v1', plural: 'pods', namespace }, podName),
    find(client, { group: '', version: 'v1', plural: 'serviceaccounts', namespace }, serviceAccountName),
    find(client, { group: '', version: 'v1', plural: 'nodes' }, nodeName),
  ])
  const named = `the pod ${namespace}/${podName}`
  if (pod === undefined) return denied('PodNotFound', `${named} is not there`)
  if (pod.metadata.uid !== podUID) return denied('PodMismatch', `${named} is another one: its UID is not ${podUID}`)
  const { phase } = pod.status ?? {}
  if (phase === 'Succeeded' || phase === 'Failed') return denied('PodEnded', `${named} has ended`)
  const { serviceAccountName: own = 'default', nodeName: on = '', volumes = [] } = pod.spec ?? {}
  if (own !== serviceAccountName)
    return denied('ServiceAccountMismatch', `${named} is of the service account ${own}, not ${serviceAccountName}`)
  if (account === undefined) return denied('ServiceAccountMismatch', `the service account ${namespace}/${serviceAccountName} is not there`)
  if (account.metadata.uid !== serviceAccountUID)
    return denied('ServiceAccountMismatch', `the service account ${namespace}/${serviceAccountName} is another one: its UID differs`)
  if (on !== nodeName) return denied('NodeMismatch', `${named} is ${on === '' ? 'on no node yet' : `on ${on}`}, not on ${nodeName}`)
  if (node === undefined) return denied('NodeMismatch', `the node ${nodeName} is not there`)
  if (node.metadata.uid !== nodeUID) return denied('NodeMismatch', `the node ${nodeName} is another one: its UID differs`)
  const mounts = volumes.some(({ projected }) =>
    projected?.sources?.some(({ podCertificate }) => podCertificate?.signerName === signerName),
  )
  return mounts ? undefined : denied('NotMounted', `${named} has no volume with a certificate of ${signerName}`)
}

/** The authority looks again; here it is told apart what another key would mend. */
function checkKey({ spec }: PodCertificateRequest): Denied | undefined {
  const proof = proofIn(spec)
  if (proof === undefined) return denied('InvalidRequest', 'it holds no key that this version of the API shows')
  const key = typeof proof === 'string' ? keyOf(proof) : checkPossession(proof)
  if (key.ok) return undefined
  const reason = key.reason === 'ERR_KEY_WEAK' ? 'UnsupportedKeyType' : 'InvalidRequest'
  return denied(reason, `${key.reason}${key.detail === '' ? '' : `: ${key.detail}`}`)
}

function keyOf(csr: string): ReturnType<typeof checkPossession> {
  const request = decodeRequest(csr)
  return request.ok ? readSvidRequest(request.value, '') : request
}

/** What proves the key: the request itself, or, in the older form, a signature over the pod's UID. */
export function proofIn(spec: PodCertificateRequest['spec']): string | Parameters<typeof checkPossession>[0] | undefined {
  const { stubPKCS10Request, pkixPublicKey, proofOfPossession, podUID } = spec
  if (typeof stubPKCS10Request === 'string' && stubPKCS10Request !== '') return stubPKCS10Request
  if (pkixPublicKey === undefined || proofOfPossession === undefined) return undefined
  return { publicKey: pkixPublicKey, proof: proofOfPossession, message: podUID }
}

async function find<T extends KubeObject>(client: KubeClient, resource: Resource, name: string): Promise<T | undefined> {
  try {
    return await client.get<T>(resource, name)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_KUBE_NOT_FOUND') return undefined
    throw error
  }
}

function denied(reason: string, message: string): Denied {
  return { type: 'Denied', reason, message }
}
