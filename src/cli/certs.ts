/** `postern certs`: certificate tools that need no server. Each lives in a file of `certs-tooling/`. */
import { systemClock } from '#base/clock'
import { nearest } from '#base/suggest'
import { usage } from './arguments.ts'
import type { Command } from './command.ts'

const subcommands: NonNullable<Command['subcommands']> = {
  init: async () => (await import('#certs-tooling/init')).initCommand(systemClock),
  issue: async () => (await import('#certs-tooling/issue')).issueCommand(systemClock),
  request: async () => (await import('#certs-tooling/request')).requestCommand(systemClock),
  inspect: async () => (await import('#certs-tooling/inspect')).inspectCommand(systemClock),
  verify: async () => (await import('#certs-tooling/verify')).verifyCommand(systemClock),
  convert: async () => (await import('#certs-tooling/convert')).convertCommand(),
  bundle: async () => (await import('#certs-tooling/bundle')).bundleCommand(systemClock),
}

export const certs: Command = {
  summary: 'makes, requests, shows, checks and converts certificates',
  help: `postern certs: certificate tools; all but \`request\` need no server

Usage: postern certs COMMAND …

  init     makes an authority in a folder: a root, an intermediate, the trust bundle
  issue    signs a short-lived certificate for one workload
  request  asks a running authority (\`postern ca run\`) for one, or renews it
  inspect  says what a file holds: certificates, keys, requests, bundles
  verify   says whether certificates would be accepted, and if not, why
  convert  between PEM, DER and PKCS#12 (for Java and Windows)
  bundle   makes a trust bundle, as PEM or as SPIFFE JWKS

Each has --help. docs/certificates.md walks through them.

Example:
  postern certs init ca --trust-domain example.org
  postern certs issue ca --id spiffe://example.org/ns/shop/sa/cart --out cart
`,
  subcommands,
  async run([name]) {
    if (name === undefined) throw usage(`which? \`postern certs\` has ${Object.keys(subcommands).join(', ')}.`)
    const meant = nearest(name, Object.keys(subcommands))
    throw usage(`there is no \`certs ${name}\`.${meant === undefined ? '' : ` Did you mean \`${meant}\`?`}`)
  },
}
