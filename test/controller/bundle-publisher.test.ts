import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { publishTrustBundle } from '#controller/bundle-publisher'
import { createKubeClient } from '#kube/client'
import { send, startKubeApi, status } from '../fakes/kube-api.ts'

const BASE = '/apis/certificates.k8s.io'
const NAME = 'postern.dev:identity:bundle'

interface Written {
  readonly apiVersion: string
  readonly spec: { readonly signerName: string; readonly trustBundle: string }
}

/** @param versions in which the cluster has ClusterTrustBundles; all serve the group itself in v1 */
async function publishOn(
  versions: readonly string[],
  bundles: readonly string[],
): Promise<{ readonly wrote: boolean[]; readonly stored: Written | undefined }> {
  await using api = await startKubeApi()
  let stored: Written | undefined
  api.intercept = (request, response, body) => {
    const [path = ''] = decodeURIComponent(request.url ?? '').split('?')
    const [, version = '', rest] = new RegExp(`^${BASE}/(v1|v1beta1)(/clustertrustbundles/${NAME})?$`).exec(path) ?? []
    if (rest === undefined) {
      if (version === 'v1' || versions.includes(version)) {
        send(response, 200, {
          resources: versions.includes(version) ? [{ name: 'clustertrustbundles' }] : [{ name: 'certificatesigningrequests' }],
        })
      } else status(response, 404, 'no such version')
    } else if (!versions.includes(version)) status(response, 404, 'the server could not find the requested resource')
    else if (request.method === 'PATCH') {
      stored = JSON.parse(body) as Written
      send(response, 200, stored)
    } else if (stored === undefined) status(response, 404, 'not found')
    else send(response, 200, stored)
    return true
  }
  const client = createKubeClient(api.access, systemClock)
  try {
    const wrote: boolean[] = []
    for (const bundle of bundles) wrote.push(await publishTrustBundle(client, 'postern.dev/identity', bundle))
    return { wrote, stored }
  } finally {
    await client.close()
  }
}

for (const [versions, expected] of [
  [['v1'], 'v1'],
  [['v1beta1'], 'v1beta1'],
  [['v1', 'v1beta1'], 'v1'],
] as const) {
  test(`where ClusterTrustBundles are ${versions.join(' and ')} the bundle is one of ${expected}, written when it changes`, async () => {
    const { wrote, stored } = await publishOn(versions, ['one', 'one', 'two'])
    assert.deepEqual(wrote, [true, false, true])
    assert.equal(stored?.apiVersion, `certificates.k8s.io/${expected}`)
    assert.deepEqual(stored.spec, { signerName: 'postern.dev/identity', trustBundle: 'two' })
  })
}

test('a cluster that has none says so in words', async () => {
  await assert.rejects(publishOn([], ['one']), /This cluster knows no ClusterTrustBundles: .*where v1beta1 is switched on/)
})
