/** `postern ca token`: a join token for one workload. */
import { systemClock } from '#base/clock'
import { makeJoinToken } from '#ca/attest/join-token'
import { caPath } from '#ca/issuance'
import { parseSpiffeId, type SpiffeId } from '#identity/spiffe-id'
import { jsonOption, spanOption } from '#certs-tooling/options'
import { jsonText, spanText, timeText } from '#certs-tooling/text'
import { parseArguments, usage } from '../arguments.ts'
import type { Command } from '../command.ts'
import { openCaStore, readCaConfig } from './open.ts'

export const tokenCommand: Command = {
  summary: 'makes a join token',
  help: `Usage: postern ca token --config FILE --id SPIFFE_ID [--ttl SPAN] [--output json]

Prints a join token: whoever has it gets one certificate for this identity, once. Only its hash is kept, so it cannot be shown again.

  --config FILE     the document of the authority; it may be running
  --id SPIFFE_ID    the identity that the token stands for
  --ttl SPAN        how long it may be used (10m)
  --output json     prints token, id and end as JSON

Example:
  postern ca token --config ca/ca.yaml --id spiffe://example.org/ns/shop/sa/cart > token
`,
  async run(args, io) {
    const { values } = parseArguments(args, {
      config: { type: 'string' },
      id: { type: 'string' },
      ttl: { type: 'string', default: '10m' },
      output: { type: 'string', default: 'text' },
    })
    const json = jsonOption(values.output)
    const ttl = spanOption('--ttl', values.ttl)
    const config = await readCaConfig(values.config, io)
    const id = readId(values.id, config.trustDomain)
    if (config.attest.joinToken === undefined) {
      throw usage('this authority takes no join tokens: add `joinToken: {}` under `spec.attest` of its document, and start it again.')
    }
    const { max } = config.attest.joinToken
    if (ttl > max)
      throw usage(`\`--ttl ${values.ttl}\` is longer than this authority allows (\`spec.attest.joinToken.max\`: ${spanText(max)}).`)
    await using store = await openCaStore(config, 'tool', false)
    const { text, record } = makeJoinToken(id, systemClock.now(), ttl)
    await store.createJoinToken(record)
    io.stdout.write(json ? jsonText({ token: text, id: id.uri, expires_at: timeText(record.expiresAt) }) : `${text}\n`)
    if (!json) io.stderr.write(`Good once, for ${id.uri}, until ${timeText(record.expiresAt)}.\n`)
    return 0
  },
}

function readId(text: string | undefined, trustDomain: string): SpiffeId {
  const example = `spiffe://${trustDomain}/ns/shop/sa/cart`
  if (text === undefined) throw usage(`\`--id SPIFFE_ID\` is missing: the identity that the token stands for, such as ${example}.`)
  const id = parseSpiffeId(text)
  if (!id.ok) throw usage(`\`--id ${text}\` is not a SPIFFE ID: ${id.detail}. One looks like \`${example}\`.`)
  if (id.value.trustDomain !== trustDomain) throw usage(`\`--id ${text}\` is not of this authority's trust domain \`${trustDomain}\`.`)
  if (id.value.path === '') throw usage(`\`--id ${text}\` names the trust domain itself, not a workload: add a path, as in \`${example}\`.`)
  if (id.value.path === caPath()) throw usage(`\`--id ${text}\` is the authority's own identity, which it gives to nobody.`)
  return id.value
}
