/**
 * What another vouches for: the controller has looked a pod up that asks the cluster for a certificate, and says whose it is. Only those that
 * the document names may, and none of them can be had this way: who vouches proves itself.
 */
import { ok, refusal, type Result } from '#base/result'
import type { PodCertificateConfig } from '#config/ca-config'
import { fillIdTemplate } from '#identity/id-template'
import type { Peer } from '#identity/peer'
import type { Attested } from './attestor.ts'

export interface VouchedPod {
  readonly namespace: string
  readonly serviceAccount: string
  readonly pod: string
  readonly podUid: string
  readonly node: string
}

/** @param config undefined: nobody may */
export function attestPod(pod: VouchedPod, by: Peer, config: PodCertificateConfig | undefined): Result<Attested> {
  const voucher = by.id.uri
  if (config === undefined || !config.by.includes(voucher)) return refusal('ERR_CA_VOUCHER', voucher)
  const id = fillIdTemplate(config.id, (gap) => (gap === 'namespace' || gap === 'serviceAccount' ? pod[gap] : undefined))
  if (!id.ok) return refusal('ERR_CA_ATTESTED_ID', id.detail)
  if (config.by.includes(id.value.uri)) return refusal('ERR_CA_ATTESTED_ID', `${id.value.uri} vouches for others, and proves itself`)
  const evidence = `pod ${pod.namespace}/${pod.pod} ${pod.podUid} of node ${pod.node}, seen by ${voucher}`
  return ok({ id: id.value, by: 'podCertificate', evidence })
}
