/** A stream of JSON documents, one a line, however it is cut into pieces. */
import { PosternError } from '#base/errors'

const NEWLINE = 10

/** @throws PosternError ERR_KUBE_RESPONSE at a line that is not JSON, or longer than `longest` bytes */
export async function* jsonLines(stream: AsyncIterable<Uint8Array>, longest: number): AsyncIterable<unknown> {
  let parts: Uint8Array[] = []
  let size = 0
  for await (const chunk of stream) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      parts.push(chunk.subarray(start, end))
      const line = Buffer.concat(parts).toString('utf8')
      parts = []
      size = 0
      start = end + 1
      if (line.trim() !== '') yield parsed(line)
    }
    if (start === chunk.length) continue
    // The piece lives on until its line ends: the rest of its buffer need not.
    parts.push(chunk.slice(start))
    size += chunk.length - start
    if (size > longest) throw new PosternError('ERR_KUBE_RESPONSE', `An event is longer than ${longest} bytes.`)
  }
  const rest = Buffer.concat(parts).toString('utf8')
  if (rest.trim() !== '') throw new PosternError('ERR_KUBE_UNREACHABLE', 'The stream of events broke off in the middle of one.')
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new PosternError('ERR_KUBE_RESPONSE', `An event is not JSON: ${line.slice(0, 100)}`, { cause: error })
  }
}
