/**
 * Loaded before every test file: in CI, properties draw the same examples each time, so that what a change is judged by is the change. Everywhere
 * else they draw new ones; POSTERN_SEED draws again what a failure named.
 */
import process from 'node:process'

const seed = process.env['POSTERN_SEED'] ?? (process.env['CI'] === undefined ? undefined : '20261125')
if (seed !== undefined && process.argv.some((arg) => arg.includes('/property/'))) {
  const { configureGlobal, readConfigureGlobal } = await import('fast-check')
  configureGlobal({ ...readConfigureGlobal(), seed: Number(seed) })
}
