/** Reads the CA's document from its file. */
import type { CaConfig } from './ca-config.ts'
import { readCaDocument } from './ca-document.ts'
import { type Loaded, loadSingleDocument } from './single-document.ts'

export type LoadedCa = Loaded<CaConfig>

export interface LoadCaOptions {
  /** Absolute path of the document. */
  readonly file: string
  /** Paths below it are shown relative to it. */
  readonly displayFolder: string
}

/** What is wrong with the file or the document is in the result. */
export function loadCaConfiguration(options: LoadCaOptions): Promise<LoadedCa> {
  return loadSingleDocument({ ...options, kind: 'CertificateAuthority' }, (document) => readCaDocument(document, options))
}
