/** `postern drain`: tells a running sidecar to end, or to send its callers elsewhere first. */
import { formatAddress } from '#base/units'
import { askAdmin, parseAdminAddress } from './admin-client.ts'
import { parseArguments } from './arguments.ts'
import type { Command, CommandIo, ExitStatus } from './command.ts'

export const drainCommand: Command = {
  summary: 'tells a running sidecar to end, or to send its callers elsewhere first',
  help: `postern drain: tells a running sidecar to end, or to send its callers elsewhere first

Usage: postern drain [--gently] [--admin ADDRESS]

  --gently         asks callers to connect anew (Connection: close, GOAWAY) and goes on serving whoever comes: for the time in which an
                   instance is taken out of service while its app still runs
  --admin ADDRESS  \`spec.admin\` of the sidecar. Default unix:postern-admin.sock

Without --gently the sidecar takes nothing new, finishes what runs within \`spec.drain\`, and ends, as on SIGTERM.
Exit status: 0 asked, 1 the sidecar did not take it, 2 none answers.

Example:
  postern drain --gently --admin unix:/run/postern/admin.sock
`,
  run: drain,
}

async function drain(args: readonly string[], io: CommandIo): Promise<ExitStatus> {
  const { values } = parseArguments(args, {
    gently: { type: 'boolean', default: false },
    admin: { type: 'string', default: 'unix:postern-admin.sock' },
  })
  const address = parseAdminAddress(values.admin, io.cwd)
  const { status } = await askAdmin(address, values.gently ? '/v1/turn-away' : '/v1/drain', 'POST')
  if (status === 202) return 0
  const hint = address.kind === 'unix' ? '' : ' It takes orders on a Unix socket only.'
  io.stderr.write(`The sidecar on ${formatAddress(address)} answered with status ${status}.${hint}\n`)
  return 1
}
