/** `postern ca`: the certificate authority. Each subcommand is a file of `ca/`. */
import { nearest } from '#base/suggest'
import { usage } from './arguments.ts'
import type { Command } from './command.ts'

const subcommands: NonNullable<Command['subcommands']> = {
  init: async () => (await import('./ca/init.ts')).initCommand,
  run: async () => (await import('./ca/run.ts')).runCommand,
  token: async () => (await import('./ca/token.ts')).tokenCommand,
  list: async () => (await import('./ca/list.ts')).listCommand,
  revoke: async () => (await import('./ca/revoke.ts')).revokeCommand,
  rotate: async () => (await import('./ca/rotate.ts')).rotateCommand,
  backup: async () => (await import('./ca/backup.ts')).backupCommand,
  restore: async () => (await import('./ca/restore.ts')).restoreCommand,
}

export const caCommand: Command = {
  summary: 'issues short-lived certificates to workloads',
  help: `postern ca: the certificate authority of a trust domain

Usage: postern ca COMMAND …

  init    makes an authority in a folder, with a document that runs as it is
  run     serves workloads: X509-SVIDs, JWT-SVIDs, the trust bundle
  token   makes a join token, with which one workload gets one identity
  list    what was issued, searchable
  revoke  takes a certificate, an identity or an authority out of trust
  rotate  replaces the root and the intermediate without downtime
  backup  copies the SQLite store while the authority runs
  restore puts such a copy in the place of the store

Each has --help. docs/certificate-authority.md walks through them.

Example:
  postern ca init ca --trust-domain example.org
  postern ca run --config ca/ca.yaml
`,
  subcommands,
  async run([name]) {
    if (name === undefined) throw usage(`which? \`postern ca\` has ${Object.keys(subcommands).join(', ')}.`)
    const meant = nearest(name, Object.keys(subcommands))
    throw usage(`there is no \`ca ${name}\`.${meant === undefined ? '' : ` Did you mean \`${meant}\`?`}`)
  },
}
