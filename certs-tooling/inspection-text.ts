/** `certs inspect` as text: the identity, the time left and the chain first, then each thing in full. */
import type { CommandIo } from '#cli/command'
import type { CertificateReport, ItemReport, KeyReport } from './describe.ts'
import type { Inspection } from './inspect.ts'
import { columns, mark, printable, shellWord, timeText, validityText } from './text.ts'
import { explainReason, type Verdict } from './verdict.ts'

export function inspectionText(inspection: Inspection, now: number, io: Pick<CommandIo, 'colour'>): string {
  const { file, items, verdict } = inspection
  const notVerified =
    verdict === undefined && items.some((item) => item.kind === 'certificate')
      ? `Nothing here is verified: \`postern certs verify ${shellWord(file)} --bundle FILE\` gives a verdict.\n`
      : ''
  const details = items.map((item, index) => `\n${index + 1}  ${titleOf(item)}\n${columns(rowsOf(item, now), '   ')}`).join('')
  return `${file}: ${inspection.format}, ${countOf(items)}${bundleFacts(inspection)}\n${notVerified}${headline(items, now)}${verdictText(verdict, io)}${details}`
}

/** One line for each thing. */
export function shortText({ items }: Inspection, now: number): string {
  return items.map((item) => `${shortLine(item, now)}\n`).join('')
}

function shortLine(item: ItemReport, now: number): string {
  switch (item.kind) {
    case 'certificate':
      return [nameOf(item), item.role, validityText(item.notBefore, item.notAfter, now), item.key.kind, `serial ${item.serial}`].join(' · ')
    case 'private key':
    case 'public key':
      return [titleOf(item), ...(item.key === undefined ? [] : [item.key.kind, `sha256 ${item.key.sha256.slice(0, 16)}`])].join(' · ')
    case 'certificate request':
      return ['certificate request', namesText(item.names) || printable(item.subject) || 'no name', item.key.kind].join(' · ')
    case 'revocation list':
      return ['revocation list', printable(item.issuer), `${item.revoked.length} revoked`].join(' · ')
    default:
      return titleOf(item)
  }
}

function countOf(items: readonly ItemReport[]): string {
  const kinds = Map.groupBy(items, (item) => (item.kind === 'unknown' ? `block of unknown kind ${printable(item.label)}` : item.kind))
  return [...kinds].map(([kind, members]) => `${members.length} ${kind}${members.length === 1 ? '' : 's'}`).join(', ') || 'nothing'
}

function bundleFacts({ sequence, refreshHintSeconds }: Inspection): string {
  const facts = [
    ...(sequence === undefined ? [] : [`sequence ${sequence}`]),
    ...(refreshHintSeconds === undefined ? [] : [`refresh hint ${refreshHintSeconds}s`]),
  ]
  return facts.length === 0 ? '' : `, ${facts.join(', ')}`
}

function headline(items: readonly ItemReport[], now: number): string {
  const leaf = items.find((item) => item.kind === 'certificate')
  if (leaf === undefined) return ''
  const chain = leaf.role === 'leaf' ? `  chain  ${chainText(leaf, items)}\n` : ''
  return `\n${nameOf(leaf)}  ${validityText(leaf.notBefore, leaf.notAfter, now)}\n${chain}`
}

function chainText(leaf: CertificateReport, items: readonly ItemReport[]): string {
  const names = ['leaf']
  let last = leaf
  // As many steps as there are certificates: names can be made to go round in a circle.
  for (let steps = 0; steps < items.length && !last.selfIssued; steps++) {
    const next = last.issuedBy === undefined ? undefined : items[last.issuedBy - 1]
    if (next?.kind !== 'certificate') break
    names.push(commonName(next.subject))
    last = next
  }
  const end = last.selfIssued ? '' : ` ← ${commonName(last.issuer)} (not in this file)`
  return `${names.join(' ← ')}${end}`
}

function commonName(name: string): string {
  return printable(/(?:^|, )CN=((?:\\.|[^,\\])*)/.exec(name)?.[1] ?? name)
}

function verdictText(verdict: Verdict | undefined, io: Pick<CommandIo, 'colour'>): string {
  if (verdict === undefined) return ''
  if (verdict.reason === undefined) return `\n${mark('√', io)} would be accepted, until ${timeText(verdict.validUntil ?? NaN)}\n`
  const { what, remedy } = explainReason(verdict.reason)
  const detail = verdict.detail === '' ? '' : `  ${printable(verdict.detail)}\n`
  return `\n${mark('×', io)} would be refused: ${verdict.reason}\n  ${what}\n${detail}  ${remedy}\n`
}

function nameOf(certificate: CertificateReport): string {
  return printable(certificate.spiffeId ?? (certificate.subject === '' ? 'no SPIFFE ID' : `no SPIFFE ID, ${certificate.subject}`))
}

function namesText(names: readonly { readonly type: string; readonly value: string }[]): string {
  return names.map(({ type, value }) => `${type}:${printable(value)}`).join(', ')
}

function titleOf(item: ItemReport): string {
  switch (item.kind) {
    case 'certificate':
      return `certificate, ${item.role === 'leaf' ? 'leaf' : item.selfIssued ? 'root authority' : 'intermediate authority'}`
    case 'private key':
      return `private key, ${item.encrypted ? 'encrypted' : 'not encrypted'}`
    case 'JWT key':
      return `JWT key ${printable(item.kid)}, ${printable(item.type)}`
    case 'unknown':
      return `${printable(item.label)}, not known here`
    default:
      return item.kind
  }
}

type Row = readonly [string, string]

function rowsOf(item: ItemReport, now: number): Row[] {
  switch (item.kind) {
    case 'certificate':
      return [
        ['SPIFFE ID', printable(item.spiffeId ?? 'none')],
        ['valid', `${timeText(item.notBefore)} to ${timeText(item.notAfter)}, ${validityText(item.notBefore, item.notAfter, now)}`],
        ['subject', printable(item.subject) || 'empty'],
        ['issuer', printable(item.issuer) + (item.issuedBy === undefined ? '' : `  (${item.issuedBy} here)`)],
        ['serial', item.serial],
        ['key', `${item.key.kind}, sha256 ${item.key.sha256}`],
        ['signed with', item.signatureAlgorithm],
        ['fingerprint', `sha256 ${item.fingerprint}`],
        ...extensionRows(item.extensions),
      ]
    case 'certificate request':
      return [
        ['asks for', namesText(item.names) || 'no name'],
        ['subject', printable(item.subject) || 'empty'],
        ['key', `${item.key.kind}, sha256 ${item.key.sha256}`],
        ...extensionRows(item.extensions),
      ]
    case 'revocation list':
      return [
        ['issuer', printable(item.issuer)],
        ['from', timeText(item.thisUpdate)],
        ['until', item.nextUpdate === undefined ? 'not said' : timeText(item.nextUpdate)],
        ['revoked', item.revoked.join(', ') || 'none'],
      ]
    case 'private key':
    case 'public key':
      return keyRows(item)
    default:
      return []
  }
}

function keyRows({ key, belongsTo }: KeyReport): Row[] {
  if (key === undefined) return [['key', 'not looked at: give its password with --password-file or --password-env']]
  return [['key', `${key.kind}, sha256 ${key.sha256}`], ...(belongsTo === undefined ? [] : [['of', `${belongsTo} here`] as const])]
}

function extensionRows(extensions: CertificateReport['extensions']): Row[] {
  return extensions.map(({ name, critical, text }) => [name, `${printable(text)}${critical ? '  (critical)' : ''}`])
}
