/** Manifests of workloads for tests on a cluster: JSON, which `kubectl apply` takes as YAML documents. */
import { X509Certificate } from 'node:crypto'
import type { TestMesh, TestSvid } from './authority.ts'

const text = (manifest: object): string => `${JSON.stringify(manifest)}\n`

export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): string {
  return text({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
}

export function serviceAccount(of: string, name: string): string {
  return text({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: of } })
}

export function policy(of: string, name: string, spec: object): string {
  return text({ apiVersion: 'postern.dev/v1', kind: 'Policy', metadata: { name, namespace: of }, spec })
}

/** Port 8080, to pods labelled with its name. */
export function service(of: string, name: string, spec: object): string {
  const ports = [{ name: 'http', port: 8080, targetPort: 8080 }]
  return text({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: of }, spec: { selector: { app: name }, ports, ...spec } })
}

type Environment = Readonly<Record<string, string>>

function template(name: string, image: string, env: Environment, serviceAccountName: string, annotations: Environment): object {
  return {
    metadata: { labels: { app: name }, annotations },
    spec: {
      serviceAccountName,
      containers: [
        {
          name: 'app',
          image,
          env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
          ports: [{ containerPort: 8080, name: 'http' }],
          readinessProbe: { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 1 },
        },
      ],
    },
  }
}

export function deployment(
  of: string,
  name: string,
  image: string,
  env: Environment = {},
  account = name,
  annotations: Environment = {},
): string {
  const spec = { replicas: 1, selector: { matchLabels: { app: name } }, template: template(name, image, env, account, annotations) }
  return text({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, namespace: of }, spec })
}

export function statefulSet(of: string, name: string, image: string, replicas: number, env: Environment = {}): string {
  const spec = { replicas, serviceName: name, selector: { matchLabels: { app: name } }, template: template(name, image, env, name, {}) }
  return text({ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name, namespace: of }, spec })
}

/** Of the root of another mesh. */
export function trustDomain({ trustDomain: name, bundlePem }: TestMesh, sequence: number): string {
  const certificate = new X509Certificate(bundlePem)
  const key = { ...certificate.publicKey.export({ format: 'jwk' }), use: 'x509-svid', x5c: [certificate.raw.toString('base64')] }
  const spec = { bundle: { spiffe_sequence: sequence, keys: [key] } }
  return text({ apiVersion: 'postern.dev/v1', kind: 'TrustDomain', metadata: { name }, spec })
}

/** A pod that nothing was injected into, with a sidecar of its own of another trust domain: what its app calls at 127.0.0.1:7101 goes to `to`. */
export function partnerPod(
  of: string,
  name: string,
  images: { readonly app: string; readonly postern: string },
  svid: TestSvid,
  bundleOfOurs: string,
  { to, peer }: { readonly to: string; readonly peer: string },
): string {
  const files = { certificate: '/etc/postern/svid.pem', key: '/etc/postern/key.pem', bundle: '/etc/postern/bundle.pem' }
  const document = {
    apiVersion: 'postern.dev/v1',
    kind: 'Sidecar',
    metadata: { name, namespace: of },
    spec: {
      identity: { files },
      federation: { 'example.org': { bundle: '/etc/postern/example.org.pem' } },
      outbound: [{ listen: '127.0.0.1:7101', to, peer }],
      admin: 'off',
      health: 'off',
    },
  }
  const stringData = {
    'svid.pem': svid.certificatePem,
    'key.pem': svid.keyPem,
    'bundle.pem': svid.bundlePem,
    'example.org.pem': bundleOfOurs,
    'sidecar.yaml': JSON.stringify(document),
  }
  const sidecar = {
    name: 'postern',
    image: images.postern,
    args: ['sidecar', '--config', '/etc/postern/sidecar.yaml'],
    volumeMounts: [{ name: 'postern', mountPath: '/etc/postern', readOnly: true }],
  }
  const spec = {
    containers: [{ name: 'app', image: images.app }, sidecar],
    volumes: [{ name: 'postern', secret: { secretName: name } }],
  }
  return [
    text({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: of }, stringData }),
    text({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: of, labels: { app: name } }, spec }),
  ].join('---\n')
}
