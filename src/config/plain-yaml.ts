/** YAML of other programs' making, read as plain values: kubeconfigs, manifests. Ours is read by `yaml.ts`, strictly and with places. */
import { parse, parseAllDocuments, stringify } from 'yaml'
import { PosternError } from '#base/errors'
import { MAX_DOCUMENT_LENGTH } from './yaml-limits.ts'

/** @throws PosternError ERR_CONFIG_INVALID with what the reader says */
export function readPlainYaml(text: string, file: string): unknown {
  return guarded(text, file, () => parse(text, { maxAliasCount: 100 }))
}

/** Each document of a stream, empty ones left out. @throws PosternError ERR_CONFIG_INVALID */
export function readPlainYamlDocuments(text: string, file: string): unknown[] {
  return guarded(text, file, () => {
    const documents = parseAllDocuments(text)
    return [...documents].flatMap((document) => {
      const [error] = document.errors
      if (error !== undefined) throw error
      const value: unknown = document.toJS({ maxAliasCount: 100 })
      return value === null ? [] : [value]
    })
  })
}

/** A stream of documents, long lines unbroken. */
export function writePlainYamlDocuments(documents: readonly unknown[]): string {
  return documents.map((document) => stringify(document, { lineWidth: 0, aliasDuplicateObjects: false })).join('---\n')
}

function guarded<T>(text: string, file: string, read: () => T): T {
  if (text.length > MAX_DOCUMENT_LENGTH) {
    throw new PosternError('ERR_CONFIG_INVALID', `${file}: longer than ${MAX_DOCUMENT_LENGTH / 1024 ** 2} MiB; split it.`)
  }
  try {
    return read()
  } catch (error) {
    throw new PosternError('ERR_CONFIG_INVALID', `${file}: ${error instanceof Error ? error.message.split('\n', 1)[0] : String(error)}`, {
      cause: error,
    })
  }
}
