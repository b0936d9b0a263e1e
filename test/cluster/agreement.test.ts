/** A real API server answers what our fake of it answers (`test/kube/agreement.test.ts`): the table is one. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '#base/clock'
import { customResources } from '#controller/crds'
import { createKubeClient, type KubeClient } from '#kube/client'
import type { KubeObject, Resource } from '#kube/objects'
import { API_SERVER_MISSING, openApiServer } from '../support/api-server.ts'
import { KUBE_CASES } from '../support/kube-cases.ts'
import type { Kube } from '../support/kube-questions.ts'

const core = (plural: string, namespace?: string): Resource => ({
  group: '',
  version: 'v1',
  plural,
  ...(namespace !== undefined && { namespace }),
})
const DEFINITIONS: Resource = { group: 'apiextensions.k8s.io', version: 'v1', plural: 'customresourcedefinitions' }

interface Definition extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

async function until<T>(look: () => Promise<T>, isIt: (seen: T) => boolean): Promise<void> {
  const late = performance.now() + 30_000
  for (let seen = await look(); !isIt(seen); seen = await look()) {
    if (performance.now() > late) assert.fail(JSON.stringify(seen))
    await pause(100)
  }
}

async function prepare(client: KubeClient, namespace: string): Promise<void> {
  for (const definition of customResources() as unknown as readonly Definition[]) {
    const { name } = definition.metadata
    await client.patch(DEFINITIONS, name, definition, { type: 'apply', fieldManager: 'postern-test' })
    await until(
      () => client.get<Definition>(DEFINITIONS, name),
      ({ status }) => status?.conditions?.some((one) => one.type === 'Established' && one.status === 'True') === true,
    )
  }
  await client.create(core('namespaces'), { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  await until(
    () => client.list(core('serviceaccounts', namespace)),
    ({ items }) => items.some(({ metadata }) => metadata.name === 'default'),
  )
}

test('a real API server answers as the fake does', { skip: API_SERVER_MISSING, timeout: 120_000 }, async (t) => {
  using server = await openApiServer()
  const client = createKubeClient(server.access, systemClock)
  const namespace = `postern-cases-${randomBytes(4).toString('hex')}`
  await prepare(client, namespace)
  const kube: Kube = {
    client,
    access: server.access,
    namespace,
    async token(audience) {
      const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [audience], expirationSeconds: 600 } }
      const made = await client.create<{ status: { token: string } }>(core('serviceaccounts', namespace), body, 'default', 'token')
      return made.status.token
    },
  }
  try {
    for (const { title, run, answer } of KUBE_CASES) {
      const skip = title.startsWith('the webhooks') && !server.isHere ? 'this cluster cannot call what listens here' : false
      await t.test(title, { skip }, async () => assert.deepEqual(await run(kube), answer))
    }
  } finally {
    await client.delete(core('namespaces'), namespace).catch(() => {})
    await client.close()
  }
})
