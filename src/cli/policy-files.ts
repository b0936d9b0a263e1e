/** Loads policies for the operator's tools: files and folders, each complaint with its place. */
import { basename, extname, relative, resolve } from 'node:path'
import type { Problem } from '#base/located'
import { decodeUtf8, isFault, listFiles, readBoundedFile } from '#config/files'
import { fileProblem } from '#config/problems'
import { readYamlDocuments } from '#config/yaml'
import type { PolicyDocument } from '#policy/document'
import { readPolicyDocument } from '#policy/read-document'

export interface LoadedPolicies {
  /** Of every file, in the order given, files of a folder sorted; without those that have errors. */
  readonly documents: readonly PolicyDocument[]
  readonly problems: readonly Problem[]
  /** As shown. */
  readonly files: readonly string[]
}

/** Never throws for what is wrong with a file. */
export async function loadPolicies(paths: readonly string[], cwd: string): Promise<LoadedPolicies> {
  const documents: PolicyDocument[] = []
  const problems: Problem[] = []
  const files = new Set<string>()
  for (const path of paths) {
    const found = await listFiles(resolve(cwd, path))
    if (isFault(found)) {
      problems.push(fileProblem(path, 'ERR_CONFIG_FILE', `${found.fault}.`))
      continue
    }
    if (found.length === 0) problems.push(fileProblem(path, 'ERR_CONFIG_FILE', 'The folder holds no `.yaml`, `.yml` or `.json` file.'))
    for (const file of found) {
      const name = shown(file, cwd)
      if (files.has(name)) continue
      files.add(name)
      const loaded = await loadFile(file, name)
      documents.push(...loaded.documents)
      problems.push(...loaded.problems)
    }
  }
  return { documents, problems, files: [...files] }
}

/** Relative for what lies below the working folder. */
function shown(file: string, cwd: string): string {
  const name = relative(cwd, file)
  return name === '' || name.startsWith('..') ? file : name
}

async function loadFile(file: string, name: string): Promise<Omit<LoadedPolicies, 'files'>> {
  const read = await readBoundedFile(file)
  if (isFault(read)) return { documents: [], problems: [fileProblem(name, 'ERR_CONFIG_FILE', `${read.fault}.`)] }
  const text = decodeUtf8(read.content)
  if (text === undefined) return { documents: [], problems: [fileProblem(name, 'ERR_CONFIG_SYNTAX', 'The file is not UTF-8.')] }
  const yaml = readYamlDocuments(text, name)
  const stem = basename(name, extname(name))
  const readings = yaml.documents.map((value, index) =>
    readPolicyDocument(value, { defaultName: yaml.documents.length > 1 ? `${stem}-${index + 1}` : stem }),
  )
  const problems = [...yaml.problems, ...readings.flatMap((reading) => reading.problems)]
  if (readings.length === 0 && problems.length === 0) problems.push(fileProblem(name, 'ERR_POLICY_EMPTY', 'The file holds no policy.'))
  return { documents: readings.map(({ document }) => document).filter((document) => document !== undefined), problems }
}

export function hasErrors(problems: readonly Problem[]): boolean {
  return problems.some(({ severity }) => severity === 'error')
}
