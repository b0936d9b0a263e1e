/** The page of all reason codes, `docs/errors.md`, as text: from the tables in `src/base/reasons/`. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REASONS, type Reason, type ReasonCode } from '#base/reasons'
import { statusOf } from '#proxy/answers'

const FOLDER = join(import.meta.dirname, '../src/base/reasons')

interface Family {
  /** What its file says it holds. */
  readonly title: string
  readonly reasons: readonly (readonly [ReasonCode, Reason])[]
}

async function families(): Promise<readonly Family[]> {
  const files = globSync('*.ts', { cwd: FOLDER }).toSorted()
  return Promise.all(
    files.map(async (file) => {
      const exported = Object.values((await import(join(FOLDER, file))) as Record<string, Record<string, Reason>>)
      const reasons = exported.flatMap((table) => Object.keys(table).filter((code): code is ReasonCode => code in REASONS))
      const about = /^\/\*\*\s*(?:Reason codes of\s+)?(.*?)\.?\s*\*\//s.exec(readFileSync(join(FOLDER, file), 'utf8'))?.[1]
      if (about === undefined) throw new Error(`src/base/reasons/${file} does not open with a sentence on what it holds.`)
      return { title: about.charAt(0).toUpperCase() + about.slice(1), reasons: reasons.map((code) => [code, REASONS[code]] as const) }
    }),
  )
}

/** `gRPC` status of an HTTP status a refusal has (SURFACE: answers to callers). */
const GRPC_STATUS: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 429: 8, 502: 14, 503: 14, 504: 4 }

/** Undefined for what never answers a request: the command line, documents, handshakes. */
function httpStatus(code: ReasonCode): number | undefined {
  const status = statusOf(code)
  return status === statusOf('ERR_INTERNAL') && code !== 'ERR_INTERNAL' ? undefined : status
}

function entry([code, { what, remedy }]: readonly [ReasonCode, Reason]): string {
  const status = httpStatus(code)
  const grpc = status === undefined ? undefined : GRPC_STATUS[status]
  const answer = status === undefined ? '' : `\n\nThe caller gets ${status}${grpc === undefined ? '' : ` (gRPC ${grpc})`}.`
  return `### ${code}\n\n${what}\n\n${remedy}${answer}\n`
}

/** What GitHub makes of a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}

/** The whole page. */
export async function errorsPage(): Promise<string> {
  const all = await families()
  const missing = Object.keys(REASONS).filter((code) => !all.some(({ reasons }) => reasons.some(([known]) => known === code)))
  if (missing.length > 0) throw new Error(`These codes are in no file of src/base/reasons: ${missing.join(', ')}`)
  const contents = all.map(({ title, reasons }) => `- [${title}](#${anchor(title)}) (${reasons.length})`)
  const sections = all.map(({ title, reasons }) => `## ${title}\n\n${reasons.map(entry).join('\n')}`)
  return `# Reason codes

<!-- Written by \`npm run docs\` from src/base/reasons: change it there. -->

Every refusal and every error has one of these codes. Records, metrics, exceptions, \`postern explain\` and the log use the same words.
A refused caller is told its status and a request id, never the code: with the id, \`postern explain REQUEST_ID\` says the rest.

${contents.join('\n')}

${sections.join('\n')}`
}
