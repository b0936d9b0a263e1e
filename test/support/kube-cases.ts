/**
 * Questions to an API server and what a real one answers: run against the fake in the suite, and against a real one in `test/cluster`. What the two
 * agree on is what tests upon the fake are worth. Answers are reduced to what is ours to rely on.
 */
import { RESOURCES } from '#controller/snapshot/objects'
import type { KubeObject } from '#kube/objects'
import { reviewToken } from '#kube/token-review'
import { ask, at, CONFIG_MAPS, type Json, type Kube, map, named, policy, refused, RULES, watched } from './kube-questions.ts'
import { askWebhooks } from './kube-webhook-case.ts'

export interface KubeCase {
  readonly title: string
  readonly run: (kube: Kube) => Promise<unknown>
  readonly answer: unknown
}

export const KUBE_CASES: readonly KubeCase[] = [
  {
    title: 'what is not there',
    async run(kube) {
      const { client } = kube
      const maps = at(CONFIG_MAPS, kube)
      return [
        await refused(client.get(maps, 'none')),
        await refused(client.get(at(RESOURCES.policies, kube), 'none')),
        await refused(client.patch(maps, 'none', { data: {} }, { type: 'merge' })),
        await refused(client.patch(at(RESOURCES.policies, kube), 'none', { status: {} }, { type: 'merge', subresource: 'status' })),
        await refused(client.delete(maps, 'none')),
      ]
    },
    answer: [
      ['ERR_KUBE_NOT_FOUND', 404, '404 configmaps "none" not found'],
      ['ERR_KUBE_NOT_FOUND', 404, '404 policies.postern.dev "none" not found'],
      ['ERR_KUBE_NOT_FOUND', 404, '404 configmaps "none" not found'],
      ['ERR_KUBE_NOT_FOUND', 404, '404 policies.postern.dev "none" not found'],
      ['ERR_KUBE_NOT_FOUND', 404, '404 configmaps "none" not found'],
    ],
  },
  {
    title: 'what is made, made again, and made for trial',
    async run(kube) {
      const { client } = kube
      const maps = at(CONFIG_MAPS, kube)
      const made = await client.create<KubeObject>(maps, map('made'))
      const trial = await client.dryRun<KubeObject>(maps, map('trial'))
      const generated = await client.create<KubeObject>(maps, map(undefined as unknown as string, { generateName: 'many-' }))
      return [
        [
          made.metadata.name,
          made.metadata.namespace === kube.namespace,
          made.metadata.uid !== '',
          Number(made.metadata.resourceVersion) > 0,
        ],
        await refused(client.create(maps, map('made'))),
        trial.metadata.name,
        await refused(client.get(maps, 'trial')),
        /^many-[a-z0-9]{5}$/.test(generated.metadata.name),
      ]
    },
    answer: [
      ['made', true, true, true],
      ['ERR_KUBE_CONFLICT', 409, '409 configmaps "made" already exists'],
      'trial',
      ['ERR_KUBE_NOT_FOUND', 404, '404 configmaps "trial" not found'],
      true,
    ],
  },
  {
    title: 'a patch upon a version that is not the last',
    async run(kube) {
      const { client } = kube
      const maps = at(CONFIG_MAPS, kube)
      const first = await client.create<KubeObject>(maps, map('versions'))
      const { resourceVersion } = first.metadata
      const second = await client.patch<KubeObject>(
        maps,
        'versions',
        { metadata: { resourceVersion }, data: { a: '1' } },
        { type: 'merge' },
      )
      const test = (version: string): object[] => [
        { op: 'test', path: '/metadata/resourceVersion', value: version },
        { op: 'add', path: '/data/b', value: '2' },
      ]
      return [
        second.metadata.resourceVersion !== resourceVersion,
        await refused(client.patch(maps, 'versions', { metadata: { resourceVersion }, data: { a: '2' } }, { type: 'merge' })),
        ((await refused(client.patch(maps, 'versions', test(resourceVersion), { type: 'json' }))) as unknown[])[1],
        ((await client.patch(maps, 'versions', test(second.metadata.resourceVersion), { type: 'json' })) as unknown as Json)['data'],
        (await client.patch<KubeObject>(maps, 'versions', { data: { a: '1' } }, { type: 'merge' })).metadata.resourceVersion ===
          (await client.get<KubeObject>(maps, 'versions')).metadata.resourceVersion,
      ]
    },
    answer: [
      true,
      [
        'ERR_KUBE_CONFLICT',
        409,
        '409 Operation cannot be fulfilled on configmaps "versions": the object has been modified; please apply your changes to the latest version and try again',
      ],
      422,
      { a: '1', b: '2' },
      true,
    ],
  },
  {
    title: 'server-side apply makes what is not there, and changes what is',
    async run(kube) {
      const maps = at(CONFIG_MAPS, kube)
      const apply = async (value: string): Promise<unknown> => {
        const object = { ...map('applied'), data: { a: value } }
        const stored = await kube.client.patch(maps, 'applied', object, { type: 'apply', fieldManager: 'postern-test' })
        return (stored as unknown as Json)['data']
      }
      return [await apply('1'), await apply('2')]
    },
    answer: [{ a: '1' }, { a: '2' }],
  },
  {
    title: 'a list in pages, of one version, in order, by label and by field',
    async run(kube) {
      const maps = at(CONFIG_MAPS, kube)
      for (const name of ['page-c', 'page-a', 'page-b']) await kube.client.create(maps, map(name, { labels: { pages: 'yes', name } }))
      const path = `/api/v1/namespaces/${kube.namespace}/configmaps?labelSelector=pages%3Dyes&limit=2`
      const first = (await ask(kube, 'GET', path)).body as unknown as { metadata: Record<string, string>; items: KubeObject[] }
      await kube.client.create(maps, map('page-d', { labels: { pages: 'yes' } }))
      const next = (await ask(kube, 'GET', `${path}&continue=${encodeURIComponent(first.metadata['continue'] ?? '')}`))
        .body as unknown as typeof first
      const names = ({ items }: { readonly items: readonly KubeObject[] }): string[] => items.map(({ metadata }) => metadata.name)
      return [
        names(first),
        names(next),
        first.metadata['resourceVersion'] === next.metadata['resourceVersion'],
        next.metadata['continue'] ?? '',
        names(await kube.client.list(maps, { labelSelector: 'pages' })),
        names(await kube.client.list(maps, { labelSelector: 'pages=yes,name!=page-a' })),
        names(await kube.client.list(maps, { fieldSelector: 'metadata.name=page-b' })),
      ]
    },
    answer: [
      ['page-a', 'page-b'],
      ['page-c'],
      true,
      '',
      ['page-a', 'page-b', 'page-c', 'page-d'],
      ['page-b', 'page-c', 'page-d'],
      ['page-b'],
    ],
  },
  {
    title: 'a watch from a version tells what was since, in order, and what is deleted with a version of its own',
    async run(kube) {
      const { client } = kube
      const maps = at(CONFIG_MAPS, kube)
      const { metadata } = await client.list<KubeObject>(maps)
      await client.create(maps, map('followed', { labels: { followed: 'yes' } }))
      await client.patch(maps, 'followed', { data: { a: '1' } }, { type: 'merge' })
      await client.delete(maps, 'followed')
      const query = { resourceVersion: metadata.resourceVersion, labelSelector: 'followed=yes' }
      const events = await watched(kube, maps, query, 3)
      const versions = events.map(({ object }) => Number(object.metadata.resourceVersion))
      const from = await watched(kube, maps, { ...query, resourceVersion: String(versions[0]) }, 2)
      return [events.map(named), versions.every((version, index) => index === 0 || version > (versions[index - 1] ?? 0)), from.map(named)]
    },
    answer: [['ADDED followed', 'MODIFIED followed', 'DELETED followed'], true, ['MODIFIED followed', 'DELETED followed']],
  },
  {
    title: 'a watch that begins with what there is says by a bookmark when that was all',
    async run(kube) {
      const maps = at(CONFIG_MAPS, kube)
      for (const name of ['initial-a', 'initial-b']) await kube.client.create(maps, map(name, { labels: { initial: 'yes' } }))
      const query = {
        sendInitialEvents: 'true',
        resourceVersionMatch: 'NotOlderThan',
        allowWatchBookmarks: 'true',
        labelSelector: 'initial=yes',
      }
      const events = await watched(kube, maps, query, 3)
      const last = events.at(-1)?.object.metadata
      return [events.map(({ type, object }) => named({ type, object })), last?.annotations, Number(last?.resourceVersion) > 0]
    },
    answer: [['ADDED initial-a', 'ADDED initial-b', 'BOOKMARK'], { 'k8s.io/initial-events-end': 'true' }, true],
  },
  {
    title: 'a watch from a version that is forgotten is answered 200, and ends with an error of 410',
    async run(kube) {
      const [event] = await watched(kube, at(RESOURCES.policies, kube), { resourceVersion: '1' }, 1)
      const { kind, code, reason, message } = (event?.object ?? {}) as Json
      return [event?.type, kind, code, reason, String(message).replaceAll(/\d+/g, 'N')]
    },
    answer: ['ERROR', 'Status', 410, 'Expired', 'too old resource version: N (N)'],
  },
  {
    title: 'a status changes nothing but itself, an object leaves it alone, and counts its generations',
    async run(kube) {
      const { client } = kube
      const policies = at(RESOURCES.policies, kube)
      const made = await client.create<KubeObject & Json>(policies, {
        ...policy('counted', { rules: RULES }),
        status: { sidecars: '9 of 9' },
      })
      const merge = { type: 'merge', subresource: 'status' } as const
      const said = await client.patch<KubeObject & Json>(
        policies,
        'counted',
        { spec: { mode: 'shadow' }, status: { sidecars: '1 of 2' } },
        merge,
      )
      const changed = await client.patch<KubeObject & Json>(
        policies,
        'counted',
        { spec: { mode: 'shadow' }, status: { sidecars: '2 of 2' } },
        { type: 'merge' },
      )
      const seen = (object: KubeObject & Json): unknown => [object.metadata.generation, (object['spec'] as Json)['mode'], object['status']]
      const stale = { metadata: { resourceVersion: made.metadata.resourceVersion }, status: { sidecars: '3 of 3' } }
      return [seen(made), seen(said), seen(changed), ((await refused(client.patch(policies, 'counted', stale, merge))) as unknown[])[0]]
    },
    answer: [[1, 'enforce', undefined], [1, 'enforce', { sidecars: '1 of 2' }], [2, 'shadow', { sidecars: '1 of 2' }], 'ERR_KUBE_CONFLICT'],
  },
  {
    title: 'policies that the schema refuses, and what it leaves out or puts in',
    async run(kube) {
      const policies = at(RESOURCES.policies, kube)
      const path = `/apis/postern.dev/v1/namespaces/${kube.namespace}/policies`
      const answers: unknown[] = []
      for (const [name, spec] of SPECS) {
        const { status, body } = await ask(kube, 'POST', path, policy(`schema-${name}`, spec))
        answers.push([name, status, status === 201 ? (body['spec'] as Json) : body['reason']])
      }
      return [
        answers,
        (await kube.client.list<KubeObject>(policies)).items.filter(({ metadata }) => metadata.name.startsWith('schema-')).length,
      ]
    },
    answer: [
      [
        ['good', 201, { mode: 'enforce', rules: RULES }],
        ['unknown-field', 201, { mode: 'enforce', rules: RULES }],
        ['no-rules', 422, 'Invalid'],
        ['empty-rule', 422, 'Invalid'],
        ['port-too-high', 422, 'Invalid'],
        ['rules-as-text', 422, 'Invalid'],
        ['two-in-one-criterion', 422, 'Invalid'],
        ['mode', 422, 'Invalid'],
        ['limit', 422, 'Invalid'],
      ],
      2,
    ],
  },
  {
    title: 'a token is good for the audience that it is meant for, and no other text is good for any',
    async run(kube) {
      const token = await kube.token('postern-ca')
      const good = await reviewToken(kube.client, token, ['postern-ca'])
      const words = async (text: string, audience: string): Promise<string> => {
        const said = await reviewToken(kube.client, text, [audience])
        return typeof said === 'string' ? said.replace(/^\[invalid bearer token.*/, 'invalid bearer token') : 'taken'
      }
      return [
        typeof good === 'string' ? good : [good.namespace === kube.namespace, good.serviceAccount, good.podName],
        await words(token, 'other'),
        await words('a.b.c', 'postern-ca'),
      ]
    },
    answer: [[true, 'default', ''], 'invalid bearer token', 'invalid bearer token'],
  },
  {
    title: 'the webhooks: pods are injected, left alone and refused; policies refused and warned of; and what happens without an answer',
    run: askWebhooks,
    answer: [
      ['injected', 201, ['postern-init', 'postern', 'own'], true, []],
      ['bare', 201, ['postern-init', 'postern'], true, []],
      ['udp', 201, ['postern-init', 'postern'], true, ['postern: port 53/UDP of container `app` is not guarded: only TCP is.']],
      ['opted-out', 201, [], false, []],
      ['own-network', 201, [], false, []],
      ['mistaken', 422, 'denied the request: there is no annotation `postern.dev/prots`; did you mean `postern.dev/ports`?'],
      ['policy with a typo', 422, 'Did you mean `http_path`'],
      ['open policy', 201, true],
      ['nobody answers', 500, 'failed calling webhook "inject.postern.dev"'],
      ['nobody answers for policies', 201],
    ],
  },
]

const SPECS: readonly (readonly [string, unknown])[] = [
  ['good', { rules: RULES }],
  ['unknown-field', { rules: RULES, comment: 'x' }],
  ['no-rules', {}],
  ['empty-rule', { rules: [{ name: 'x' }] }],
  ['port-too-high', { rules: RULES, target: { ports: [70_000] } }],
  ['rules-as-text', { rules: 'all' }],
  ['two-in-one-criterion', { rules: [{ allow: { and: [{ http_path: '/a', http_method: 'GET' }] } }] }],
  ['mode', { rules: RULES, mode: 'off' }],
  ['limit', { rules: [{ allow: { and: [{ service_account: 'cart' }] } }], limit: { requests: 'many' } }],
]
