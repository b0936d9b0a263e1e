/** docs/kubernetes.md, command by command, on a real Kubernetes: from an empty cluster to a refused and explained request, upgraded, and removed. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import process from 'node:process'
import { test, type TestContext } from 'node:test'
import { type Cluster, CLUSTER_MISSING, eventually, clusterFor, type Ran } from '../support/cluster.ts'

const ROOT = join(import.meta.dirname, '..', '..')

/** Blocks of a page's commands, in order. */
function blocksOf(file: string): string[] {
  return [...readFileSync(join(ROOT, file), 'utf8').matchAll(/```sh\n([^]*?)```/g)].map((match) => match[1] ?? '')
}

const GUIDE = blocksOf('docs/kubernetes.md')

/** A folder as a reader has it: the examples, and the two commands on the path. Images are those that the cluster has. */
function workplace(t: TestContext, { images, kubectlProgram }: Cluster): (script: string) => Promise<Ran> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-guide-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  cpSync(join(ROOT, 'examples'), join(folder, 'examples'), { recursive: true })
  const manifests = join(folder, 'examples/kubernetes/shop')
  for (const name of readdirSync(manifests).filter((file) => file.endsWith('.yaml'))) {
    const text = readFileSync(join(manifests, name), 'utf8')
    writeFileSync(join(manifests, name), text.replaceAll('image: node:26-slim', `image: ${images.app}`))
  }
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const command = (name: string, script: string): void => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(bin, name), 0o755)
  }
  // Where nothing gives volumes, and the image is not the published one.
  const options = `--image ${images.postern} --ca-storage none`
  command('postern', `[ "$1" = install ] && set -- "$@" ${options}; exec "${process.execPath}" "${join(ROOT, 'dist/postern.js')}" "$@"`)
  command('kubectl', `exec "${kubectlProgram}" "$@"`)
  return (script) => shell(script, folder, [bin, process.env['PATH']].join(delimiter))
}

function shell(script: string, cwd: string, path: string): Promise<Ran> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    cwd,
    env: { ...process.env, PATH: path },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve) => child.on('close', (code) => resolve({ status: code ?? -1, stdout, stderr })))
}

interface Expected {
  /** The block that holds these words, and no other. */
  readonly block: RegExp
  readonly sees: RegExp
  /** Asked again until it is so: the page says that it takes a moment. */
  readonly soon?: boolean
  /** Exit status. Default 0. */
  readonly status?: number
}

const STEPS: readonly Expected[] = [
  { block: /certs init authority/, sees: /./ },
  { block: /install[^]*rollout status statefulset/, sees: /deployment "postern-controller" successfully rolled out/ },
  { block: /create configmap services/, sees: /deployment "gateway" successfully rolled out/ },
  { block: /custom-columns/, sees: /catalog-\S+ +postern-init,postern\n/ },
  { block: /gateway\.mjs http:\/\/storefront\.shop\n$/, sees: /^403 .*"request_id"/ },
  { block: /apply -f examples\/kubernetes\/shop\/policies\.yaml/, sees: /catalog-readers +enforce +catalog +True/ },
  { block: /gateway\.mjs http:\/\/storefront\.shop\n$/, sees: /^200 Cart of ada:\n- Lantern, 25 coins\n- Whetstone, 7 coins/, soon: true },
  { block: /tee refused\.txt/, sees: /^403 \{"title":"Forbidden"/ },
  {
    block: /explain "\$ID"/,
    sees: /spiffe_id is spiffe:\/\/example\.org\/ns\/shop\/sa\/cart — it is spiffe:\/\/example\.org\/ns\/edge\/sa\/gateway/,
    // Of what was refused.
    status: 1,
  },
  {
    block: /http_metod/,
    sees: /Did you mean `http_method`\?[^]*refused, as it should be|refused, as it should be[^]*Did you mean `http_method`\?/,
  },
  { block: /install[^]*rollout restart/, sees: /deployment "storefront" successfully rolled out/ },
  { block: /kubectl delete -f mesh\.yaml/, sees: /customresourcedefinition\S* "policies\.postern\.dev" deleted/ },
]

test('the guide of Kubernetes, command by command', { skip: CLUSTER_MISSING, timeout: 280_000 }, async (t) => {
  using cluster = await clusterFor(t)
  if (cluster === undefined) return
  const run = workplace(t, cluster)
  assert.equal(GUIDE.length, STEPS.length, 'each block of the guide has its step here')
  for (const [index, script] of GUIDE.entries()) {
    const { block, sees, soon = false, status = 0 } = STEPS[index]!
    assert.match(script, block)
    const title = script.trim().split('\n').at(-1) ?? ''
    // oxlint-disable-next-line no-await-in-loop -- one after the other, as a reader does
    await t.test(title, async (context) => {
      const look = (): Promise<Ran> => run(script)
      const ran = soon ? await eventually(title, look, ({ stdout }) => sees.test(stdout), 30) : await look()
      assert.equal(ran.status, status, `${ran.stdout}\n${ran.stderr}`)
      assert.match(`${ran.stdout}${ran.stderr}`, sees)
      if (/http_metod/.test(script)) {
        await context.test('the doctor finds all of it well', () => doctor(cluster))
        await context.test('the README of the example, on the mesh as it is', () => readme(run))
      }
    })
  }
  await t.test('after the removal no pod has a sidecar, and the shop answers as it did before', async () => {
    await eventually(
      'pods with sidecars have ended',
      () => cluster.kubectl(['get', 'pods', '-A', '-o', 'jsonpath={.items[*].spec.initContainers[*].name}']),
      (seen) => seen.status === 0 && seen.stdout === '',
    )
    const { stdout } = await run('kubectl -n edge exec deployment/gateway -c app -- node /edge/gateway.mjs http://storefront.shop')
    assert.match(stdout, /^200 Cart of ada/)
  })
})

async function doctor(cluster: Cluster): Promise<void> {
  const look = (): Promise<Ran> => cluster.beside(process.execPath, [join(ROOT, 'dist/postern.js'), 'check', '--cluster'])
  const seen = await eventually('the doctor', look, ({ status, stdout }) => status === 0 && !stdout.includes('‼'), 40)
  assert.match(seen.stdout, /√ a pod that is created gets its sidecar/)
  assert.match(seen.stdout, /√ every pod of the labelled namespaces has its sidecar/)
  assert.match(seen.stdout, /√ every policy is accepted, and runs in all sidecars that it concerns/)
}

/** What exists is made again as it is: `create` becomes `apply`. */
async function readme(run: (script: string) => Promise<Ran>): Promise<void> {
  const [script = ''] = blocksOf('examples/kubernetes/shop/README.md')
  const again = script.replaceAll(
    /^kubectl (.*) create (configmap .*)$/gm,
    'kubectl $1 create $2 --dry-run=client -o yaml | kubectl $1 apply -f -',
  )
  const { status, stdout, stderr } = await run(again)
  assert.equal(status, 0, stderr)
  assert.match(stdout, /200 Cart of ada/)
}
