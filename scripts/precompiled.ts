/**
 * Runs a part of the bundle that is one classic script, with the code that V8 made of it when it was built: little of it is parsed or
 * compiled at the start. The code counts for one version and architecture of Node, and V8 refuses it under other flags: then the script is
 * compiled as any other. It lies beside the program, is as trusted as the program, and is only ever read.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { Script } from 'node:vm'
import { PosternError } from '#base/errors'

export interface Precompiled {
  readonly script: Script
  readonly exports: Readonly<Record<string, unknown>>
}

/** What stands before and behind a CommonJS bundle, so that it is one function. `shared`: what both sides must take for one and the same. */
export const WRAPPER = { before: '(function(module,exports,require,importMetaUrl,shared){', behind: '})' } as const

/** The file of a script's code that the running Node may use. @param script its name holds a hash of it: V8 compares nothing but lengths */
export function codeFile(script: string): string {
  return script.replace(/\.cjs$/, `.${process.version}-${process.arch}.code`)
}

/** @param folder of the bundle, absolute. @param url of the file that stands for the script as a module */
export function runPrecompiled(folder: string, name: string, url: string): Precompiled {
  const filename = join(folder, name)
  const cachedData = readCode(join(folder, codeFile(name)))
  // The build writes ASCII alone: a byte a character, in memory too.
  const script = new Script(readFileSync(filename, 'latin1'), { filename, ...(cachedData !== undefined && { cachedData }) })
  const module: { readonly exports: Record<string, unknown> } = { exports: {} }
  const run = script.runInThisContext() as (...args: unknown[]) => void
  run(module, module.exports, (name: string): unknown => process.getBuiltinModule(name), url, { PosternError })
  return { script, exports: module.exports }
}

/** Undefined where the build made none for this Node. */
function readCode(file: string): Buffer | undefined {
  try {
    return readFileSync(file)
  } catch {
    return undefined
  }
}
