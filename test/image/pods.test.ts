/** The image in what a container engine has for pods: a sidecar and an app in one network namespace, identities from the authority beside them. */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type ContainerPod, idOf, startContainerMesh } from '../support/container-mesh.ts'
import { type DockerEngine, openDockerEngine } from '../support/docker-engine.ts'
import { buildImage, useEngine } from '../support/restricted-container.ts'

const engine: DockerEngine | string = await openDockerEngine({ ownNetwork: true })
if (typeof engine === 'string') console.log(`# pods of containers are not tested: ${engine}`)

/** Of a request to a path. Records are gathered before they are written, and the engine passes them on when it likes. */
async function idOfRecord(pod: ContainerPod, path: string): Promise<string> {
  for (const late = performance.now() + 10_000; performance.now() < late; await pause(50)) {
    const found = pod.records().find((record) => JSON.stringify(record).includes(`"${path}"`)) as { request_id?: string } | undefined
    if (found?.request_id !== undefined) return found.request_id
  }
  return assert.fail(`no record of ${path}: ${JSON.stringify(pod.records())}`)
}

suite('pods of containers', { skip: typeof engine === 'string' ? engine : false }, () => {
  before(async () => {
    useEngine(engine as DockerEngine)
    await buildImage()
  })
  after(() => (engine as DockerEngine)[Symbol.asyncDispose]())

  test('two call each other by identities of the authority, and policy decides', async () => {
    const rule = (name: string, caller: string, path: string): string =>
      `    - { name: ${name}, allow: { and: [{ spiffe_id: { is: "${idOf(caller)}" } }, { http_path: { starts_with: ${path} } }] } }\n`
    await using mesh = await startContainerMesh([
      { name: 'catalog', calls: 'cart', rules: rule('cart-reads', 'cart', '/items') },
      { name: 'cart', calls: 'catalog', rules: rule('catalog-looks', 'catalog', '/baskets') },
    ])
    const [catalog, cart] = ['catalog', 'cart'].map((name) => mesh.pods.get(name) as ContainerPod)
    assert.ok(catalog !== undefined && cart !== undefined)
    const own = 'http://127.0.0.1:7001'
    assert.equal(await cart.get(`${own}/items/1`), `200 ${JSON.stringify({ path: '/items/1', caller: idOf('cart') })}`)
    assert.equal(await catalog.get(`${own}/baskets/1`), `200 ${JSON.stringify({ path: '/baskets/1', caller: idOf('catalog') })}`)
    // Refused, and it can be told why.
    assert.match(await cart.get(`${own}/secrets`), /^403 /)
    const id = await idOfRecord(catalog, '/secrets')
    const explained = await catalog.sidecar.exec(['node', '/postern/postern.js', 'explain', id, '--admin', 'unix:/etc/postern/admin.sock'])
    assert.match(explained.output, /\/secrets[^]*cart-reads/)
    // Around the sidecar there is nothing: the app is on loopback, and what listens wants a certificate.
    assert.equal(await cart.get('http://catalog:8080/items/1'), 'ECONNREFUSED')
    assert.match(await cart.get('http://catalog:7443/items/1'), /^E/)
  })
})
