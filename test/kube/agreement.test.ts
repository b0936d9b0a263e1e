/** The fake API server answers as a real one does; `test/cluster/agreement.test.ts` asks a real one the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '#base/clock'
import { createKubeClient } from '#kube/client'
import { startKubeApi } from '../fakes/kube-api.ts'
import { KUBE_CASES } from '../support/kube-cases.ts'
import type { Kube } from '../support/kube-questions.ts'

for (const { title, run, answer } of KUBE_CASES) {
  test(`the fake answers: ${title}`, async () => {
    await using api = await startKubeApi(500)
    const client = createKubeClient(api.access, systemClock)
    const namespace = 'cases'
    api.put({ group: '', version: 'v1', plural: 'namespaces' }, { metadata: { name: namespace } })
    api.forget()
    const kube: Kube = {
      client,
      access: api.access,
      namespace,
      token(audience) {
        api.tokens.set('good', { username: `system:serviceaccount:${namespace}:default`, audiences: [audience] })
        return Promise.resolve('good')
      },
    }
    try {
      assert.deepEqual(await run(kube), answer)
    } finally {
      await client.close()
    }
  })
}
