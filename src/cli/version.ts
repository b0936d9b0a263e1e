/** The version of this build. */
import { readFileSync } from 'node:fs'

declare const __POSTERN_VERSION__: string | undefined

/** Put in by the build; read from package.json in a checkout. */
export const VERSION: string =
  typeof __POSTERN_VERSION__ === 'string'
    ? __POSTERN_VERSION__
    : String((JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: unknown }).version)
