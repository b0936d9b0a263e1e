/** The image as a pod under the restricted Pod Security standard runs it: read-only root, no capabilities, a user without a name to speak of. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { GenericContainer, type WaitStrategy } from 'testcontainers'
import { makeBaseImage } from '../../scripts/base-image.ts'
import type { DockerEngine } from './docker-engine.ts'

const ROOT = join(import.meta.dirname, '../..')

export const TAG = 'postern-test:latest'

export class RestrictedContainer extends GenericContainer {
  constructor(command: string[], wait: WaitStrategy) {
    super(TAG)
    this.hostConfig.ReadonlyRootfs = true
    this.withUser('65532:65532').withDroppedCapabilities('ALL').withSecurityOpt('no-new-privileges').withNetworkMode('host')
    this.withCommand(command).withWaitStrategy(wait.withStartupTimeout(60_000))
  }
}

/** From now on, for this process. */
export function useEngine({ host }: DockerEngine): void {
  if (host !== undefined) process.env['DOCKER_HOST'] = host
  // The reaper would have to be pulled; every container here is stopped by its own test.
  process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'
  // Else it is looked for through the default bridge, which an engine of our own does not have.
  process.env['TESTCONTAINERS_HOST_OVERRIDE'] = '127.0.0.1'
}

/** As the Dockerfile says, under `TAG`. */
export async function buildImage(): Promise<void> {
  if (!existsSync(join(ROOT, 'dist/postern.js'))) execFileSync(process.execPath, [join(ROOT, 'scripts/build.ts')])
  await GenericContainer.fromDockerfile(ROOT)
    .withBuildArgs({ BASE: await makeBaseImage() })
    .build(TAG, { deleteOnExit: false })
}
