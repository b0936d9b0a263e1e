/** `postern inject`: does to manifests what the webhook does to pods. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { createTwoFilesPatch } from 'diff'
import { readPlainYamlDocuments, writePlainYamlDocuments } from '#config/plain-yaml'
import { injectManifests, type InjectedObject } from '#controller/inject/manifests'
import type { InjectionSettings } from '#controller/inject/settings'
import { isTrustDomain } from '#identity/spiffe-id'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { VERSION } from './version.ts'

export const injectCommand: Command = {
  summary: 'adds sidecars to Kubernetes manifests',
  help: `postern inject: adds sidecars to Kubernetes manifests, as the webhook does to pods

Usage: postern inject -f FILE|- --trust-domain TD [options]

  -f, --file FILE|-       manifests: Deployments, StatefulSets, DaemonSets, Jobs, CronJobs, Pods, Lists; - reads from stdin
  --trust-domain TD       of the mesh
  --image IMAGE           of the sidecar. Default ghcr.io/postern/postern:VERSION
  --namespace NAME        of objects that name none. Default default
  --mesh-namespace NAME   where CA and controller run. Default postern-system
  --interception MODE     redirect (default) or loopback
  --pass-through WHAT     calls to destinations outside of the mesh: allow (default) or refuse
  --exclude-networks NET  called directly by every app, e.g. the API server: 10.96.0.1/32; may be repeated
  --trust-bundle SIGNER   takes the bundle from ClusterTrustBundles of this signer instead of the ConfigMap postern-ca-bundle
  --pod-certificates      certificates of that signer by PodCertificateRequests, instead of a token for the authority
  --diff                  prints what changes, not the manifests

Manifests go to stdout; what was injected, left alone or refused, and why, to stderr. Injecting again changes nothing. Annotations of a
pod (docs/kubernetes.md) choose its ports, protocols and the rest. Exit status: 0 done, 2 something was refused: nothing is written then.

Example:
  postern inject -f shop.yaml --trust-domain example.org | kubectl apply -f -
`,
  run: inject,
}

async function inject(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values } = parseArguments(args, {
    file: { type: 'string', short: 'f' },
    'trust-domain': { type: 'string' },
    image: { type: 'string', default: `ghcr.io/postern/postern:${VERSION}` },
    namespace: { type: 'string', default: 'default' },
    'mesh-namespace': { type: 'string', default: 'postern-system' },
    interception: { type: 'string', default: 'redirect' },
    'pass-through': { type: 'string', default: 'allow' },
    'exclude-networks': { type: 'string', multiple: true, default: [] },
    'trust-bundle': { type: 'string' },
    'pod-certificates': { type: 'boolean', default: false },
    diff: { type: 'boolean', default: false },
  })
  const { file, interception } = values
  if (file === undefined) throw usage('`-f FILE` is missing; `-f -` reads from stdin.')
  const trustDomain = values['trust-domain']
  if (trustDomain === undefined) throw usage('`--trust-domain` is missing.')
  if (!isTrustDomain(trustDomain)) throw usage(`\`${trustDomain}\` is not the name of a trust domain, such as example.org.`)
  if (interception !== 'redirect' && interception !== 'loopback') throw usage('`--interception` takes `redirect` or `loopback`.')
  const passThrough = values['pass-through']
  if (passThrough !== 'allow' && passThrough !== 'refuse') throw usage('`--pass-through` takes `allow` or `refuse`.')
  const podCertificate = values['pod-certificates']
  if (podCertificate && values['trust-bundle'] === undefined)
    throw usage('`--pod-certificates` needs `--trust-bundle SIGNER`: the signer that pods ask.')
  const namespace = values['mesh-namespace']
  const settings: InjectionSettings = {
    image: values.image,
    trustDomain,
    namespace,
    caAddress: `postern-ca.${namespace}.svc:7100`,
    controllerAddress: `postern-controller.${namespace}.svc:7201`,
    controllerPeer: `spiffe://${trustDomain}/ns/${namespace}/sa/postern-controller`,
    trustBundleSigner: values['trust-bundle'],
    podCertificate,
    interception,
    passThrough,
    excludeNetworks: values['exclude-networks'],
    version: VERSION,
  }
  const name = file === '-' ? 'stdin' : file
  const before = readPlainYamlDocuments(file === '-' ? await readAll(io.stdin) : await readManifest(resolve(io.cwd, file), file), name)
  const { documents, objects } = injectManifests(before, values.namespace, settings)
  for (const object of objects) io.stderr.write(line(object))
  if (objects.length === 0) io.stderr.write(`${name} holds no objects.\n`)
  if (objects.some(({ kind }) => kind === 'refused')) return 2
  const output = writePlainYamlDocuments(documents)
  io.stdout.write(values.diff ? createTwoFilesPatch(name, `${name} (injected)`, writePlainYamlDocuments(before), output) : output)
  return 0
}

async function readManifest(path: string, shown: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw usage(`${shown} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)}).`, error)
  }
}

const MARKS = { injected: '√', left: '-', refused: '×' } as const

function line({ name, kind, notes }: InjectedObject): string {
  const words = kind === 'injected' ? 'gets a sidecar' : kind === 'left' ? `is left as it is: ${notes.join(' ')}` : 'is refused:'
  const more = kind === 'left' ? '' : notes.map((note) => `    ${note}\n`).join('')
  return `${MARKS[kind]} ${name} ${words}\n${more}`
}
