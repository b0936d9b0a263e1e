/** A folder with all that a sidecar reads: its document, its certificates, its policies. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestMesh, type TestMesh, type TestSvid } from './authority.ts'

export interface SidecarFiles {
  readonly mesh?: TestMesh
  /** Path of the sidecar's own SPIFFE ID. */
  readonly path?: string
  readonly svid?: TestSvid
  /** YAML of `identity:` in flow style, where it is not from the files of the folder. */
  readonly identity?: string
  /** `127.0.0.1:port` or `unix:…`; a port. */
  readonly app?: number | string
  /** `127.0.0.1:0` unless said. */
  readonly listen?: string
  readonly policy?: string
  /** YAML of one more inbound keys, each line indented by six spaces. */
  readonly inbound?: string
  /** YAML under `outbound:`, each line indented by four spaces. */
  readonly outbound?: string
  /** Files and folders; `[policy.yaml]` unless said. */
  readonly policies?: string
  /** Off unless said. */
  readonly health?: string
  /** Off unless said. */
  readonly admin?: string
  /** YAML under `spec:`, each line indented by two spaces. */
  readonly spec?: string
  /** Writes whatever else the document names. */
  readonly prepare?: (dir: string) => void
}

export interface SidecarFolder extends Disposable {
  readonly dir: string
  /** The document. */
  readonly file: string
  readonly mesh: TestMesh
  readonly write: (name: string, text: string) => void
}

export const ALLOW_ALL =
  'apiVersion: postern.dev/v1\nkind: Policy\nmetadata: { name: all, namespace: test }\nspec:\n  rules:\n    - name: everyone\n      allow: { and: [accept: true] }\n'

/** Policies are in `policy.yaml`, certificates in `svid.pem`, `key.pem`, `bundle.pem` of `dir`. */
export async function createSidecarFolder(files: SidecarFiles): Promise<SidecarFolder> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-test-'))
  const mesh = files.mesh ?? (await createTestMesh())
  const svid = files.svid ?? (await mesh.issue(files.path ?? '/ns/test/sa/service'))
  const write = (name: string, text: string): void => writeFileSync(join(dir, name), text)
  write('svid.pem', svid.certificatePem)
  write('key.pem', svid.keyPem)
  write('bundle.pem', svid.bundlePem)
  write('policy.yaml', files.policy ?? ALLOW_ALL)
  const app = typeof files.app === 'number' ? `127.0.0.1:${files.app}` : (files.app ?? '127.0.0.1:1')
  write(
    'sidecar.yaml',
    `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: service, namespace: test }
spec:
  identity: ${files.identity ?? '{ files: { certificate: svid.pem, key: key.pem, bundle: bundle.pem } }'}
  inbound:
    - listen: "${files.listen ?? '127.0.0.1:0'}"
      app: "${app}"
${files.inbound ?? ''}${files.outbound === undefined ? '' : `  outbound:\n${files.outbound}`}  policies: ${files.policies ?? '[policy.yaml]'}
  health: ${files.health ?? 'off'}
  admin: ${files.admin ?? 'off'}
${files.spec ?? ''}`,
  )
  files.prepare?.(dir)
  return {
    dir,
    file: join(dir, 'sidecar.yaml'),
    mesh,
    write,
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  }
}
