/** Writes `src/workload-api/generated/` from `src/workload-api/proto/`. Run by `npm run protobuf`, after a change of a .proto file. */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const PROTO = join(ROOT, 'src/workload-api/proto')
const BIN = join(ROOT, 'node_modules/.bin')

/** No network: the plugin is the one in `node_modules`, and the few well-known types come with buf. */
const TEMPLATE = {
  version: 'v2',
  plugins: [
    {
      local: [join(BIN, 'protoc-gen-es')],
      out: '.',
      opt: ['target=ts', 'import_extension=ts'],
    },
  ],
}

/** @param out folder, emptied before */
export function generate(out: string): void {
  rmSync(out, { recursive: true, force: true })
  execFileSync(join(BIN, 'buf'), ['generate', PROTO, '--template', JSON.stringify(TEMPLATE), '--output', out], {
    cwd: ROOT,
    stdio: 'inherit',
  })
}

if (import.meta.main) generate(join(ROOT, 'src/workload-api/generated'))
