/** `postern install`: prints the manifests of the mesh. */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { AUTHORITY_FILES } from '#certs-tooling/authority-folder'
import { writePlainYamlDocuments } from '#config/plain-yaml'
import { meshManifests } from '#controller/install'
import { loadSigningAuthority } from '#pki/signing-authority'
import { parseArguments, usage } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'
import { VERSION } from './version.ts'

export const installCommand: Command = {
  summary: 'prints what the mesh needs in a Kubernetes cluster',
  help: `postern install: prints what the mesh needs in a Kubernetes cluster

Usage: postern install --authority DIR --trust-domain TD [options]

  --authority DIR         made by \`postern certs init DIR --trust-domain TD\`; the root's key stays with you
  --trust-domain TD       of the mesh
  --image IMAGE           default ghcr.io/postern/postern:VERSION
  --namespace NAME        of CA and controller. Default postern-system
  --interception MODE     redirect (default) or loopback, for pods that do not say
  --pass-through WHAT     calls to destinations outside of the mesh: allow (default) or refuse
  --exclude-networks NET  called directly by every app, e.g. the API server; may be repeated
  --trust-bundle SIGNER   publishes the bundle as ClusterTrustBundle of this signer (Kubernetes 1.37), e.g. postern.dev/identity
  --pod-certificates      pods get their certificates by PodCertificateRequests (Kubernetes 1.35) instead of a token; with --trust-bundle
  --injection HOW         webhook (default), or policy: by the API server itself (Kubernetes 1.36), all pods alike (docs/kubernetes.md)
  --ca-storage SIZE|none  a volume for the CA's store (1Gi), or none: issuances are forgotten with its pod
  --replicas N            of the controller. Default 2

The Secret in it holds the key of the intermediate: do not keep the output where others read it.

Example:
  postern certs init authority --trust-domain example.org
  postern install --authority authority --trust-domain example.org | kubectl apply -f -
`,
  run: install,
}

async function install(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values } = parseArguments(args, {
    authority: { type: 'string' },
    'trust-domain': { type: 'string' },
    image: { type: 'string', default: `ghcr.io/postern/postern:${VERSION}` },
    namespace: { type: 'string', default: 'postern-system' },
    interception: { type: 'string', default: 'redirect' },
    'pass-through': { type: 'string', default: 'allow' },
    'exclude-networks': { type: 'string', multiple: true, default: [] },
    'trust-bundle': { type: 'string' },
    injection: { type: 'string', default: 'webhook' },
    'pod-certificates': { type: 'boolean', default: false },
    'ca-storage': { type: 'string', default: '1Gi' },
    replicas: { type: 'string', default: '2' },
  })
  const { authority: folder, 'trust-domain': trustDomain, interception, 'pass-through': passThrough } = values
  if (folder === undefined) throw usage('`--authority DIR` is missing: `postern certs init DIR --trust-domain TD` makes it.')
  if (trustDomain === undefined) throw usage('`--trust-domain` is missing.')
  if (interception !== 'redirect' && interception !== 'loopback') throw usage('`--interception` takes `redirect` or `loopback`.')
  if (passThrough !== 'allow' && passThrough !== 'refuse') throw usage('`--pass-through` takes `allow` or `refuse`.')
  if (!/^[1-9]\d?$/.test(values.replicas)) throw usage('`--replicas` takes a number from 1 to 99.')
  const { injection } = values
  if (injection !== 'webhook' && injection !== 'policy') throw usage('`--injection` takes `webhook` or `policy`.')
  if (values['pod-certificates'] && values['trust-bundle'] === undefined)
    throw usage('`--pod-certificates` needs `--trust-bundle SIGNER`: the signer that pods ask.')
  const authority = await readAuthority(resolve(io.cwd, folder), folder)
  // Nothing is printed that would not run: files that belong together, of this trust domain.
  loadSigningAuthority({ certificatesPem: `${authority.intermediate}\n${authority.root}`, trustDomain, keyPem: authority.intermediateKey })
  const storage = values['ca-storage']
  const manifests = meshManifests({
    trustDomain,
    namespace: values.namespace,
    image: values.image,
    authority,
    interception,
    passThrough,
    excludeNetworks: values['exclude-networks'],
    trustBundle: values['trust-bundle'],
    podCertificates: values['pod-certificates'],
    injection,
    version: VERSION,
    storage: storage === 'none' ? { kind: 'none' } : { kind: 'claim', size: storage },
    replicas: Number(values.replicas),
  })
  io.stdout.write(writePlainYamlDocuments(manifests))
  return 0
}

async function readAuthority(
  folder: string,
  shown: string,
): Promise<{ readonly root: string; readonly intermediate: string; readonly intermediateKey: string; readonly bundle: string }> {
  const text = async (name: string): Promise<string> => {
    try {
      return await readFile(join(folder, name), 'utf8')
    } catch (error) {
      throw usage(`${join(shown, name)} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)}).`, error)
    }
  }
  return {
    root: await text(AUTHORITY_FILES.root),
    intermediate: await text(AUTHORITY_FILES.intermediate),
    intermediateKey: await text(AUTHORITY_FILES.intermediateKey),
    bundle: await text(AUTHORITY_FILES.bundlePem),
  }
}
