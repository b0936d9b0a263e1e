/**
 * Makes a base image for the Dockerfile from the Node pinned in package-lock.json: `node scripts/base-image.ts [TAG]`. In it are the
 * binary, the shared libraries that ldd names, users, and certificates of public authorities; no shell. Prints the tag.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { text } from 'node:stream/consumers'

const ROOT = join(import.meta.dirname, '..')
const NODE_IN_IMAGE = '/usr/local/bin/node'
const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'

/** The binary that npm installed, not a link to it. */
function pinnedNode(): string {
  const [binary] = globSync('node_modules/node-linux-*/bin/node', { cwd: ROOT })
  if (binary === undefined) throw new Error('node_modules has no Node for Linux: run `npm ci` on the platform the image is for.')
  return join(ROOT, binary)
}

/** Absolute paths of the shared libraries, the loader among them. */
export function librariesOf(lddOutput: string): string[] {
  const missing = /^\s*(\S+) => not found$/m.exec(lddOutput)
  if (missing !== null) throw new Error(`Node needs ${missing[1]}, which this machine lacks.`)
  return [...lddOutput.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map((match) => match[1] ?? '')
}

function fill(root: string): string {
  const node = pinnedNode()
  const place = (source: string, target: string): void => {
    mkdirSync(dirname(join(root, target)), { recursive: true })
    cpSync(realpathSync(source), join(root, target))
  }
  place(node, NODE_IN_IMAGE)
  for (const library of librariesOf(execFileSync('ldd', [node], { encoding: 'utf8' }))) place(library, library)
  if (existsSync(AUTHORITIES)) place(AUTHORITIES, AUTHORITIES)
  mkdirSync(join(root, 'etc'), { recursive: true })
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/nonexistent\nnonroot:x:65532:65532:nonroot:/:/nonexistent\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnonroot:x:65532:\n')
  // Files before DNS, as everywhere; without this the C library would ask in another order.
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n')
  return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim().slice(1)
}

/** Makes the image. @param tag default `postern-base:<version of Node>` @returns the tag */
export async function makeBaseImage(tag?: string): Promise<string> {
  const root = mkdtempSync(join(tmpdir(), 'postern-base-'))
  try {
    const version = fill(root)
    const name = tag ?? `postern-base:${version}`
    const archive = spawn('tar', ['-C', root, '--owner=0', '--group=0', '--numeric-owner', '--sort=name', '--mtime=@0', '-c', '.'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const change = ['--change', 'ENV PATH=/usr/local/bin', '--change', `LABEL org.nodejs.version=${version}`]
    const docker = spawn('docker', ['import', ...change, '-', name], { stdio: [archive.stdout, 'ignore', 'pipe'] })
    const [complaint, [status]] = await Promise.all([text(docker.stderr), once(docker, 'close')])
    if (status !== 0) throw new Error(`docker import failed: ${complaint.trim()}`)
    return name
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

if (import.meta.main) console.log(await makeBaseImage(process.argv[2]))
