/** Reads a file that holds one document. It is small, and read before there is any traffic: in this thread. */
import type { LocatedValue, Problem } from '#base/located'
import { decodeUtf8, isFault, readBoundedFile } from './files.ts'
import { displayName, fileProblem } from './problems.ts'
import { readYamlDocuments } from './yaml.ts'

export interface SingleDocumentOptions {
  /** Absolute path of the document. */
  readonly file: string
  /** Paths below it are shown relative to it. */
  readonly displayFolder: string
  /** For messages: `CertificateAuthority`. */
  readonly kind: string
}

export interface Loaded<C> {
  /** Undefined if there is an error among the problems. */
  readonly config: C | undefined
  readonly problems: readonly Problem[]
}

/** What is wrong with the file or the document is in the result. */
export async function loadSingleDocument<C>(
  { file, displayFolder, kind }: SingleDocumentOptions,
  read: (document: LocatedValue) => Loaded<C>,
): Promise<Loaded<C>> {
  const name = displayName(file, displayFolder)
  const failed = (...problems: readonly Problem[]): Loaded<C> => ({ config: undefined, problems })
  const content = await readBoundedFile(file)
  if (isFault(content)) return failed(fileProblem(name, 'ERR_CONFIG_FILE', `${content.fault}.`))
  const text = decodeUtf8(content.content)
  if (text === undefined) return failed(fileProblem(name, 'ERR_CONFIG_SYNTAX', 'The file is not UTF-8.'))
  const { documents, problems } = readYamlDocuments(text, name)
  if (problems.length > 0) return failed(...problems)
  const [document, extra] = documents
  if (document === undefined)
    return failed(fileProblem(name, 'ERR_CONFIG_SYNTAX', `The file holds no document; it needs one of kind ${kind}.`))
  if (extra !== undefined) {
    return failed({ ...fileProblem(name, 'ERR_CONFIG_SYNTAX', 'The file holds more than one document; it takes one.'), at: extra.at })
  }
  return read(document)
}
