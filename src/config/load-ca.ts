/** Reads the CA's document from its file. It is small, and read before there is any traffic: in this thread. */
import type { Problem } from '#base/located'
import type { CaConfig } from './ca-config.ts'
import { readCaDocument } from './ca-document.ts'
import { decodeUtf8, isFault, readBoundedFile } from './files.ts'
import { fileProblem } from './problems.ts'
import { displayName } from './read-configuration.ts'
import { readYamlDocuments } from './yaml.ts'

export interface LoadedCa {
  /** Undefined if there is an error among the problems. */
  readonly config: CaConfig | undefined
  readonly problems: readonly Problem[]
}

export interface LoadCaOptions {
  /** Absolute path of the document. */
  readonly file: string
  /** Paths below it are shown relative to it. */
  readonly displayFolder: string
}

/** What is wrong with the file or the document is in the result. */
export async function loadCaConfiguration({ file, displayFolder }: LoadCaOptions): Promise<LoadedCa> {
  const name = displayName(file, displayFolder)
  const failed = (...problems: readonly Problem[]): LoadedCa => ({ config: undefined, problems })
  const read = await readBoundedFile(file)
  if (isFault(read)) return failed(fileProblem(name, 'ERR_CONFIG_FILE', `${read.fault}.`))
  const text = decodeUtf8(read.content)
  if (text === undefined) return failed(fileProblem(name, 'ERR_CONFIG_SYNTAX', 'The file is not UTF-8.'))
  const { documents, problems } = readYamlDocuments(text, name)
  if (problems.length > 0) return failed(...problems)
  const [document, extra] = documents
  if (document === undefined) {
    return failed(fileProblem(name, 'ERR_CONFIG_SYNTAX', 'The file holds no document; it needs one of kind CertificateAuthority.'))
  }
  if (extra !== undefined) {
    return failed({ ...fileProblem(name, 'ERR_CONFIG_SYNTAX', 'The file holds more than one document; it takes one.'), at: extra.at })
  }
  return readCaDocument(document, { file })
}
