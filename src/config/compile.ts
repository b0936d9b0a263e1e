/** Compiles policies for every listener in slices, so that no turn of the event loop is held up. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type CompiledPolicy, createPolicyCompiler } from '#policy/compile'
import type { PolicyDocument, PolicyScope } from '#policy/document'
import { scopeOf } from './scope.ts'
import type { SidecarConfig } from './sidecar-config.ts'

/** One for each of `config.inbound`, in its order; listeners that no document tells apart share one. */
export async function compilePolicies(
  documents: readonly PolicyDocument[],
  config: SidecarConfig,
  generation: number,
): Promise<readonly CompiledPolicy[]> {
  const isByPort = documents.some(({ target }) => target?.ports !== undefined)
  const compiled: CompiledPolicy[] = []
  for (const [index, inbound] of config.inbound.entries()) {
    const shared = isByPort ? undefined : compiled[0]
    compiled[index] = shared ?? (await compile(documents, scopeOf(config, inbound), generation))
  }
  return compiled
}

async function compile(documents: readonly PolicyDocument[], scope: PolicyScope, generation: number): Promise<CompiledPolicy> {
  const compiler = createPolicyCompiler(scope)
  for (const document of documents) compiler.add(document)
  while (compiler.advance()) await nextTurn()
  return compiler.finish(generation)
}
