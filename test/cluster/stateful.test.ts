/**
 * Pods that are called one by one, on a real Kubernetes whose pods have IPv4 and IPv6 addresses: those of StatefulSets, apps on IPv6 alone, callers of
 * another trust domain; and what becomes of all of them while authority and controller are away.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CLUSTER_MISSING, clusterFor, eventually } from '../support/cluster.ts'
import { installMesh } from '../support/mesh-on-cluster.ts'
import { createTestMesh } from '../support/authority.ts'
import { deployment, namespace, partnerPod, policy, service, serviceAccount, statefulSet, trustDomain } from '../support/workloads.ts'

/** Of an SVID, so that an outage lasts as long, measured by it, as hours do in a mesh with the default of 8 h. */
const SVID_SECONDS = 90
const OUTAGE_SECONDS = 30
const WEB = 'spiffe://example.org/ns/shop/sa/web'
const CART = 'spiffe://example.org/ns/shop/sa/cart'

test('pods called one by one, on a real Kubernetes with IPv4 and IPv6', { skip: CLUSTER_MISSING, timeout: 400_000 }, async (t) => {
  using cluster = await clusterFor(t, { dualStack: true })
  if (cluster === undefined) return
  const { app, postern } = cluster.images
  const mesh = await installMesh(cluster, [], (manifests) => manifests.replace('"svid": {', `"svid": { "x509": "${SVID_SECONDS}s",`))
  const { kubectl, applied, ready, call, allowed, record } = mesh
  const partner = await createTestMesh('partner.example')

  const rule = (name: string, ...and: readonly object[]): object => ({ name, allow: { and } })
  await applied(
    [
      namespace('shop', { 'postern.dev/inject': 'enabled' }),
      namespace('outside'),
      ...['web', 'cart', 'mallory', 'six'].map((name) => serviceAccount('shop', name)),
      policy('shop', 'web-callers', {
        target: { service: 'web' },
        rules: [
          rule('cart', { trust_domain: 'example.org' }, { service_account: 'cart' }, { http_path: { in: ['/items', '/who'] } }),
          rule('partner', { trust_domain: 'partner.example' }, { http_path: '/partner' }),
        ],
      }),
      policy('shop', 'six-callers', { target: { service: 'six' }, rules: [rule('cart', { service_account: 'cart' })] }),
      service('shop', 'web', { clusterIP: 'None', ipFamilyPolicy: 'PreferDualStack' }),
      service('shop', 'six', { ipFamilies: ['IPv6'] }),
      statefulSet('shop', 'web', app, 2, { HOST: '::' }),
      deployment('shop', 'six', app, { HOST: '::', IPV6_ONLY: '1' }),
      deployment('shop', 'cart', app),
      deployment('shop', 'mallory', app),
      deployment('outside', 'stranger', app, {}, 'default'),
    ].join('---\n'),
  )
  for (const what of ['statefulset/web', 'deployment/six', 'deployment/cart', 'deployment/mallory']) await ready('shop', what)
  await ready('outside', 'deployment/stranger')
  const ips = async (pod: string): Promise<readonly string[]> =>
    (await kubectl('-n', 'shop', 'get', pod, '-o', 'jsonpath={.status.podIPs[*].ip}')).split(' ')
  const podOf = (name: string): Promise<string> => kubectl('-n', 'shop', 'get', 'pod', '-l', `app=${name}`, '-o', 'name')

  await t.test('a pod of a StatefulSet is called by its own name, and by that of the headless Service: each as itself', async () => {
    for (const pod of ['web-0', 'web-1']) {
      const seen = await allowed('shop', 'deploy/cart', `http://${pod}.web.shop:8080/who`)
      assert.equal(seen, `200 {"path":"/who","caller":"${CART}","pod":"${pod}"}`)
    }
    assert.match(await allowed('shop', 'deploy/cart', 'http://web.shop:8080/who'), /"pod":"web-[01]"/)
    assert.match(await call('shop', 'deploy/cart', 'http://web-0.web.shop:8080/secret'), /^403 /)
    assert.match(await call('shop', 'deploy/mallory', 'http://web-0.web.shop:8080/items'), /^403 /)
    const outbound = await record('shop', 'deploy/cart', 'the call', ({ host, path }) => host === 'web-0.web.shop' && path === '/who')
    assert.deepEqual([outbound['direction'], (outbound['peer'] as { id: string }).id, outbound['status']], ['outbound', WEB, 200])
    const inbound = await record('shop', 'web-0', 'the refusal', ({ path, status }) => path === '/items' && status === 403)
    assert.equal((inbound['peer'] as { id: string }).id, 'spiffe://example.org/ns/shop/sa/mallory')
    assert.match(JSON.stringify(inbound['tls']), /TLSv1\.3/)
  })

  await t.test('both addresses of a pod lead to it, by mutual TLS', async () => {
    const addresses = await ips('pod/web-0')
    assert.deepEqual([addresses.length, addresses.filter((ip) => ip.includes(':')).length], [2, 1])
    for (const ip of addresses) {
      const host = ip.includes(':') ? `[${ip}]` : ip
      assert.match(await allowed('shop', 'deploy/cart', `http://${host}:8080/items`), new RegExp(`"caller":"${CART}"`))
      const outbound = await record('shop', 'deploy/cart', host, (one) => one['host'] === host && one['status'] === 200)
      assert.equal((outbound['peer'] as { id: string } | undefined)?.id, WEB)
    }
  })

  await t.test('an address that is said to be of one pod, and is another’s, is not spoken to', async () => {
    const [ip = ''] = (await ips(await podOf('mallory'))).filter((one) => !one.includes(':'))
    await applied(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: forged, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
endpoints: [{ addresses: ["${ip}"], targetRef: { kind: Pod, name: web-0, namespace: shop } }]
ports: [{ name: http, port: 8080 }]
`)
    // Before the table says so the call is one to a stranger, whose sidecar takes no plain text.
    await eventually(
      'the other is found out',
      () => call('shop', 'deploy/cart', `http://${ip}:8080/items`),
      (seen) => seen.startsWith('502') || seen.startsWith('503'),
    )
    const found = await record('shop', 'deploy/cart', 'who it was', ({ reason }) => reason === 'ERR_UPSTREAM_IDENTITY')
    assert.match(String(found['detail']), /is spiffe:\/\/example\.org\/ns\/shop\/sa\/mallory/)
    await kubectl('-n', 'shop', 'delete', 'endpointslice', 'forged')
  })

  await t.test('a pod that is made anew has another address, and is followed there', async () => {
    const before = await ips('pod/web-0')
    await kubectl('-n', 'shop', 'delete', 'pod', 'web-0', '--wait')
    await ready('shop', 'statefulset/web')
    const after = await ips('pod/web-0')
    assert.notDeepEqual(after, before)
    const seen = await allowed('shop', 'deploy/cart', 'http://web-0.web.shop:8080/who')
    assert.match(seen, /"pod":"web-0"/)
    const outbound = await record('shop', 'deploy/cart', 'the call', ({ path, host }) => path === '/who' && host === 'web-0.web.shop')
    assert.equal((outbound['peer'] as { id: string } | undefined)?.id, WEB)
    assert.doesNotMatch(await call('shop', 'deploy/cart', `http://${before.find((ip) => !ip.includes(':'))}:8080/items`), /^200/)
  })

  await t.test('in loopback mode one pod of a StatefulSet is called at a port of its own', async () => {
    await applied(
      deployment('shop', 'loop', app, { HOST: '127.0.0.1' }, 'cart', {
        'postern.dev/interception': 'loopback',
        'postern.dev/outbound': '7101=web-1.web.shop:8080@web,7102=web-0.web.shop:8080@cart',
      }),
    )
    await ready('shop', 'deployment/loop')
    assert.match(await allowed('shop', 'deploy/loop', 'http://127.0.0.1:7101/who'), new RegExp(`"caller":"${CART}","pod":"web-1"`))
    // Another account is expected there.
    assert.match(await call('shop', 'deploy/loop', 'http://127.0.0.1:7102/who'), /^50[23] /)
    await record('shop', 'deploy/loop', 'the other account', ({ reason }) => reason === 'ERR_UPSTREAM_IDENTITY')
  })

  await t.test('an app that listens on IPv6 alone is guarded, called through a Service of IPv6, and ready by its probe', async () => {
    const seen = await allowed('shop', 'deploy/cart', 'http://six.shop:8080/items')
    assert.equal(seen, `200 {"path":"/items","caller":"${CART}"}`)
    assert.match(await call('shop', 'deploy/mallory', 'http://six.shop:8080/items'), /^403 /)
    const outbound = await record('shop', 'deploy/cart', 'the call', ({ host, status }) => host === 'six.shop' && status === 200)
    assert.equal((outbound['peer'] as { id: string }).id, 'spiffe://example.org/ns/shop/sa/six')
  })

  await t.test(
    'over IPv6 there is no way around a sidecar either, from another pod or from the node; an app that would open one fails',
    async () => {
      const loop = await podOf('loop')
      const pods = ['pod/web-0', await podOf('six'), loop]
      for (const pod of pods) {
        for (const ip of await ips(pod)) {
          for (const port of pod === loop ? [8080] : [8080, 7443]) {
            const url = `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/items`
            assert.doesNotMatch(await call('outside', 'deploy/stranger', url), /^200/, `${pod} ${url}`)
            assert.doesNotMatch((await cluster.curl?.(url))?.stdout ?? '', /200$/, `${pod} ${url}`)
          }
        }
      }
      // The sidecar has the port on every address of the pod: who takes them all cannot.
      await applied(deployment('shop', 'wide', app, { HOST: '::', IPV6_ONLY: '1' }, 'cart', { 'postern.dev/interception': 'loopback' }))
      await eventually(
        'it says why',
        async () => (await cluster.kubectl(['-n', 'shop', 'logs', 'deploy/wide', '-c', 'app', '--previous'])).stdout,
        (seen) => /EADDRINUSE.* :::8080/.test(seen),
      )
      await kubectl('-n', 'shop', 'delete', 'deployment', 'wide')
    },
  )

  await t.test('a destination outside of the mesh is reached over IPv6 as it was', async () => {
    const own = await kubectl('-n', 'outside', 'get', 'pod', '-l', 'app=stranger', '-o', 'jsonpath={.items[0].status.podIPs[*].ip}')
    const v6 = own.split(' ').find((ip) => ip.includes(':')) ?? ''
    await applied(deployment('outside', 'dual', app, { HOST: '::' }, 'default'))
    await ready('outside', 'deployment/dual')
    const dual = await kubectl('-n', 'outside', 'get', 'pod', '-l', 'app=dual', '-o', 'jsonpath={.items[0].status.podIPs[*].ip}')
    const to = dual.split(' ').find((ip) => ip.includes(':')) ?? ''
    assert.notEqual(v6, to)
    assert.equal(await allowed('shop', 'deploy/cart', `http://[${to}]:8080/x`), '200 {"path":"/x","caller":null}')
    const found = await record('shop', 'deploy/cart', 'the call', ({ host }) => host === `[${to}]:8080`)
    assert.equal(found['detail'], 'outside of the mesh: passed through')
  })

  await t.test(
    'a caller of another trust domain: refused before the TrustDomain is there, allowed by policy then, refused again after',
    async () => {
      const svid = await partner.issue('/ns/shop/sa/cart')
      const [, own = ''] = /(-----BEGIN[\s\S]*-----END CERTIFICATE-----)/.exec(
        await kubectl('-n', 'postern-system', 'get', 'configmap', 'postern-ca-bundle', '-o', 'jsonpath={.data.bundle\\.pem}'),
      ) ?? ['', '']
      await applied(partnerPod('outside', 'buyer', { app, postern }, svid, own, { to: 'web-1.web.shop:8080', peer: WEB }))
      await kubectl('-n', 'outside', 'wait', '--for=condition=Ready', 'pod/buyer', '--timeout=60s')
      const buy = (path: string): Promise<string> => call('outside', 'pod/buyer', `http://127.0.0.1:7101${path}`)
      const refused = (): Promise<string> =>
        eventually(
          'nobody answers',
          () => buy('/partner'),
          (seen) => /^50[23] /.test(seen),
        )
      await refused()
      const stranger = await record('shop', 'web-1', 'the handshake', (one) => JSON.stringify(one).includes('partner.example'))
      assert.equal(stranger['reason'], 'ERR_SVID_TRUST_DOMAIN_UNKNOWN')

      const written = await mesh.apply(trustDomain(partner, 1))
      assert.equal(written.status, 0, written.stderr)
      const seen = await allowed('outside', 'pod/buyer', 'http://127.0.0.1:7101/partner')
      assert.equal(seen, '200 {"path":"/partner","caller":"spiffe://partner.example/ns/shop/sa/cart"}')
      // Of the same namespace and account, by name: of another trust domain all the same.
      assert.match(await buy('/items'), /^403 /)

      await kubectl('delete', 'trustdomain', 'partner.example')
      await refused()
    },
  )

  await t.test('the authority alone is away: a new pod waits, its sidecar says for what, and it comes up by itself', async () => {
    await kubectl('-n', 'postern-system', 'scale', 'statefulset/postern-ca', '--replicas=0')
    await eventually(
      'it is gone',
      () => kubectl('-n', 'postern-system', 'get', 'pods', '-l', 'app.kubernetes.io/name=postern-ca', '-o', 'name'),
      (seen) => seen === '',
    )
    await applied(deployment('shop', 'late', app, {}, 'cart'))
    await eventually(
      'it says for what it waits',
      async () => (await cluster.kubectl(['-n', 'shop', 'logs', 'deploy/late', '-c', 'postern'])).stdout,
      (seen) => /postern-ca\.postern-system\.svc:7100/.test(seen),
    )
    const state = await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=late', '-o', 'jsonpath={.items[0].status.phase}')
    assert.equal(state, 'Pending')
    await kubectl('-n', 'postern-system', 'scale', 'statefulset/postern-ca', '--replicas=1')
    await ready('postern-system', 'statefulset/postern-ca')
    await ready('shop', 'deployment/late')
  })

  await t.test(
    'both are away for a third of a certificate’s life: every call goes on, new pods wait, all recovers by itself',
    async (context) => {
      // Killed, not asked to end.
      const kill = ['-n', 'postern-system', 'delete', 'pods', '--all', '--grace-period=0', '--force', '--wait=false']
      await kubectl('-n', 'postern-system', 'scale', 'deployment/postern-controller', 'statefulset/postern-ca', '--replicas=0')
      await kubectl(...kill)
      await eventually(
        'they are gone',
        () => kubectl('-n', 'postern-system', 'get', 'pods', '-o', 'name'),
        (seen) => seen === '',
      )
      const url = 'http://web-0.web.shop:8080/items'
      const load = cluster.kubectl([
        ...['-n', 'shop', 'exec', 'deploy/cart', '-c', 'app', '--', 'node', '/app/app.js', 'load', url, String(OUTAGE_SECONDS), '20'],
      ])
      await kubectl('-n', 'shop', 'scale', 'deployment/cart', '--replicas=2')
      await eventually(
        'why no pod comes',
        () => kubectl('-n', 'shop', 'get', 'events', '-o', 'jsonpath={.items[*].message}'),
        (seen) => /failed calling webhook "inject\.postern\.dev"/.test(seen),
      )
      const answers = JSON.parse((await load).stdout) as Record<string, number>
      context.diagnostic(`answers within ${OUTAGE_SECONDS} s: ${JSON.stringify(answers)}`)
      assert.deepEqual(Object.keys(answers), ['200'])
      await kubectl('-n', 'postern-system', 'scale', 'deployment/postern-controller', 'statefulset/postern-ca', '--replicas=1')
      await eventually(
        'the second is ready',
        () => kubectl('-n', 'shop', 'get', 'deploy', 'cart', '-o', 'jsonpath={.status.readyReplicas}'),
        (seen) => seen === '2',
        150,
      )
      assert.match(await allowed('shop', 'deploy/cart', url), /sa\/cart/)
      const next = `{ "and": [{ "service_account": "cart" }, { "http_path": "/after" }] }`
      await applied(
        policy('shop', 'web-after', { target: { service: 'web' }, rules: [{ name: 'after', allow: JSON.parse(next) as object }] }),
      )
      await allowed('shop', 'deploy/cart', 'http://web-0.web.shop:8080/after')
    },
  )
})
