/** Where the API server is and how to authenticate to it: from inside a pod, or by a kubeconfig. */
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { PosternError } from '#base/errors'
import { readPlainYaml } from '#config/plain-yaml'

export interface KubeAccess {
  /** `https://host:port`, without a path. */
  readonly server: string
  /** PEM. Undefined only where the kubeconfig says that the server is not to be verified, which is refused. */
  readonly ca: string
  readonly auth: KubeAuth
  /** Of the context, or of the pod. */
  readonly namespace: string
}

export type KubeAuth =
  /** The file is read again and again: the kubelet renews it. */
  | { readonly kind: 'tokenFile'; readonly path: string }
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'certificate'; readonly certificate: string; readonly key: string }

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

type Environment = Readonly<Record<string, string | undefined>>

/** KUBECONFIG if it is set, else the pod's own service account. @throws PosternError ERR_KUBE_CONFIG */
export async function findKubeAccess(environment: Environment, serviceAccount = SERVICE_ACCOUNT): Promise<KubeAccess> {
  const { KUBECONFIG, KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = environment
  if (KUBECONFIG !== undefined && KUBECONFIG !== '') return readKubeconfig(KUBECONFIG)
  if (host === undefined || host === '') {
    throw new PosternError('ERR_KUBE_CONFIG', 'This is no pod (KUBERNETES_SERVICE_HOST is not set), and KUBECONFIG names no file; set it.')
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: await text(join(serviceAccount, 'ca.crt')),
    auth: { kind: 'tokenFile', path: join(serviceAccount, 'token') },
    namespace: (await text(join(serviceAccount, 'namespace'))).trim(),
  }
}

/** Its current context. Commands that print credentials (`exec`) and unverified servers are refused. @throws PosternError ERR_KUBE_CONFIG */
export async function readKubeconfig(file: string): Promise<KubeAccess> {
  const document = record(readPlainYaml(await text(file), file), file)
  const contextName = string(document['current-context'])
  const context = named(document['contexts'], contextName, 'context', file)
  const cluster = named(document['clusters'], string(context['cluster']), 'cluster', file)
  const user = named(document['users'], string(context['user']), 'user', file)
  const server = string(cluster['server'])
  if (server === undefined || !URL.canParse(server) || new URL(server).protocol !== 'https:') {
    throw fault(file, 'the cluster has no `server` with an https:// address')
  }
  if (cluster['insecure-skip-tls-verify'] === true)
    throw fault(file, '`insecure-skip-tls-verify` is not taken; give the certificate-authority')
  const ca = await dataOrFile(cluster, 'certificate-authority', file)
  if (ca === undefined) throw fault(file, 'the cluster has neither `certificate-authority` nor `certificate-authority-data`')
  return { server: new URL(server).origin, ca, auth: await authOf(user, file), namespace: string(context['namespace']) ?? 'default' }
}

async function authOf(user: Fields, file: string): Promise<KubeAuth> {
  const tokenFile = string(user['tokenFile'])
  if (tokenFile !== undefined) return { kind: 'tokenFile', path: beside(file, tokenFile) }
  const token = string(user['token'])
  if (token !== undefined) return { kind: 'token', token }
  const certificate = await dataOrFile(user, 'client-certificate', file)
  const key = await dataOrFile(user, 'client-key', file)
  if (certificate !== undefined && key !== undefined) return { kind: 'certificate', certificate, key }
  throw fault(file, 'the user has neither token nor client certificate with its key (`exec` and `auth-provider` are not taken)')
}

type Fields = Readonly<Record<string, unknown>>

/** `certificate-authority-data` (base64) or `certificate-authority` (a file). */
async function dataOrFile(fields: Fields, name: string, file: string): Promise<string | undefined> {
  const data = string(fields[`${name}-data`])
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8')
  const path = string(fields[name])
  return path === undefined ? undefined : text(beside(file, path))
}

/** Lists of `{ name, context: {…} }`. */
function named(list: unknown, name: string | undefined, kind: 'context' | 'cluster' | 'user', file: string): Fields {
  const found = Array.isArray(list) ? list.find((entry: unknown) => isRecord(entry) && entry['name'] === name) : undefined
  if (name === undefined || !isRecord(found)) throw fault(file, `there is no ${kind} ${name === undefined ? '' : `\`${name}\` `}in it`)
  return record(found[kind], file)
}

function record(value: unknown, file: string): Fields {
  if (!isRecord(value)) throw fault(file, 'it is not a kubeconfig')
  return value
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function beside(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path)
}

async function text(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw fault(path, `it cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`, error)
  }
}

function fault(file: string, what: string, cause?: unknown): PosternError {
  return new PosternError('ERR_KUBE_CONFIG', `${file}: ${what}.`, { cause })
}
