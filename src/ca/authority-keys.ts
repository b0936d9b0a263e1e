/** Private keys of authorities by their URI: files of one folder, readable to the user of the CA alone. */
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { PosternError } from '#base/errors'

export interface AuthorityKeys {
  /** For people. */
  readonly folder: string
  /** @returns unencrypted PEM @throws ERR_AUTHORITY_UNUSABLE */
  read(uri: string): string
  /** Writes a key durably under a new name. @returns its URI @throws ERR_AUTHORITY_UNUSABLE */
  add(name: string, keyPem: string): string
  /** Forgets a key for good; one that is gone already is no fault. */
  remove(uri: string): void
}

/** A name, not a path: what the store says must not lead out of the folder. */
const KEY_URI = /^file:([A-Za-z0-9][\w.-]{0,127})$/

export function openAuthorityKeys(folder: string): AuthorityKeys {
  function pathOf(uri: string): string {
    const name = KEY_URI.exec(uri)?.[1]
    if (name === undefined) throw unusable(`\`${uri}\` is not where a key of this version can be`)
    return join(folder, name)
  }
  return {
    folder,
    read(uri) {
      try {
        return readFileSync(pathOf(uri), 'utf8')
      } catch (cause) {
        if (cause instanceof PosternError) throw cause
        throw unusable(`its key cannot be read: ${messageOf(cause)}`, cause)
      }
    },
    add(name, keyPem) {
      const uri = `file:${name}`
      const path = pathOf(uri)
      const draft = `${path}.new`
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        // Under its own name only when it is whole: a store that names it must never find half of it.
        const file = openSync(draft, 'w', 0o600)
        try {
          chmodSync(draft, 0o600)
          writeSync(file, keyPem)
          fsyncSync(file)
        } finally {
          closeSync(file)
        }
        renameSync(draft, path)
        const parent = openSync(folder, 'r')
        try {
          fsyncSync(parent)
        } finally {
          closeSync(parent)
        }
      } catch (cause) {
        throw unusable(`its key cannot be written: ${messageOf(cause)}`, cause)
      }
      return uri
    },
    remove(uri) {
      try {
        unlinkSync(pathOf(uri))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    },
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function unusable(why: string, cause?: unknown): PosternError {
  return new PosternError('ERR_AUTHORITY_UNUSABLE', `The authority cannot be used: ${why}.`, { cause })
}
