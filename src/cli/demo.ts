/** `postern demo`: a whole mesh on loopback, driven with real traffic, in under half a minute. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { Writable } from 'node:stream'
import { styleText } from 'node:util'
import { parseArguments } from './arguments.ts'
import type { Command, CommandIo } from './command.ts'
import { type Service, startShop } from './demo/shop.ts'
import { keptCommands, runSteps } from './demo/steps.ts'
import { explainRequest } from './explain-request.ts'

export const demoCommand: Command = {
  summary: 'a whole mesh on this machine: see what it allows, refuses and explains',
  help: `Usage: postern demo [--keep]

Starts an authority, three services and their sidecars on free loopback ports, in a folder of its own, sends real requests, and shows
what is allowed, what is refused and why, a service-account token that decides and is of no use to a thief, a download that
the edit of a policy cuts, and a new root with new certificates for everyone while requests run. Exits 0 if everything happened
as it should; takes less than 30 s.

  --keep   leaves it all running and prints commands that work, until Ctrl-C

Example:
  postern demo --keep
`,
  async run(args, io) {
    const { values } = parseArguments(args, { keep: { type: 'boolean' } })
    const { stdout } = io
    const colour = (style: Parameters<typeof styleText>[0], text: string): string =>
      io.colour ? styleText(style, text, { validateStream: false }) : text
    const begun = Date.now()
    let failures = 0
    stdout.write('Starting an authority, three services and their sidecars …\n')
    await using shop = await startShop(process.argv[1] ?? '')
    await runSteps({
      shop,
      title: (text) => void stdout.write(`\n${colour('bold', text)}\n`),
      show(ok, text, detail) {
        if (!ok) failures++
        stdout.write(`${ok ? colour('green', '√') : colour('red', '×')} ${text}\n${detail === undefined ? '' : indent(detail)}`)
      },
      explain: (service, requestId) => explanationOf(shop.dir, service, requestId, io),
    })
    const seconds = ((Date.now() - begun) / 1000).toFixed(1)
    stdout.write(
      failures === 0 ? `\nAll of it happened as it should, in ${seconds} s.\n` : `\n${failures} steps came out otherwise, see × above.\n`,
    )
    if (values.keep === true) {
      const commands = await keptCommands(shop, (name, text) => writeFileSync(join(shop.dir, name), text, { mode: 0o600 }))
      stdout.write(`\nEverything is in ${shop.dir}; edit its policies/ and try:\n${commands}Ctrl-C ends it.\n`)
      await new Promise((resolve) => {
        process.once('SIGINT', resolve)
        process.once('SIGTERM', resolve)
      })
    } else stdout.write(NEXT)
    return failures === 0 ? 0 : 1
  },
}

const NEXT = `
How to go on:
  postern demo --keep                         leave it running and try curl against it
  postern ca init ca --trust-domain …         an authority of your own
  postern sidecar --config … --check          what a sidecar would do
  examples/shop                               the documents and policies that ran here
`

async function explanationOf(dir: string, service: Service, requestId: string, io: CommandIo): Promise<string> {
  let text = ''
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString()
      done()
    },
  })
  await explainRequest([requestId, '--admin', `unix:${join(dir, 'run', `${service}-admin.sock`)}`], { ...io, stdout })
  return text.trimEnd()
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `    ${line}\n`)
    .join('')
}
