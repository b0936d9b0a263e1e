/** What a run found, as the table of budgets and as docs/performance.md. */

/** One budget and what was measured against it. */
export interface Row {
  readonly what: string
  readonly budget: string
  readonly measured: string
  /** Whether the budget is kept; undefined where nothing was measured. */
  readonly kept: boolean | undefined
}

/** A table of details behind a row. */
export interface Detail {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export interface CaseReport {
  readonly rows: readonly Row[]
  readonly details: readonly Detail[]
}

export interface Environment {
  /** ISO date. */
  readonly date: string
  readonly machine: string
  /** Name → version. */
  readonly versions: Readonly<Record<string, string>>
  /** Share of the processors in use by others just before, 0 to 1. */
  readonly busyBefore: number
}

/** A limit on a ratio to a peer. */
export interface RatioBudget {
  readonly peer: string
  readonly atMost: number
}

/** Judges one figure by its ratio to each peer's. `1.12 × nginx, 0.58 × Envoy` */
export function judgeRatios(
  what: string,
  ours: number,
  peers: ReadonlyMap<string, number>,
  budgets: readonly RatioBudget[],
  unit: string,
): Row {
  const measurable = budgets.flatMap(({ peer, atMost }) => {
    const figure = peers.get(peer)
    return figure === undefined ? [] : [{ peer, atMost, ratio: ours / figure }]
  })
  const ratios = measurable.map(({ peer, ratio }) => `${ratio.toFixed(2)} × ${peer}`)
  return {
    what,
    budget: budgets.map(({ peer, atMost }) => `≤ ${atMost} × ${peer}`).join(', '),
    measured: `${ours.toFixed(1)} ${unit}${ratios.length > 0 ? `: ${ratios.join(', ')}` : ''}`,
    kept: measurable.length < budgets.length ? undefined : measurable.every(({ ratio, atMost }) => ratio <= atMost),
  }
}

/** Judges figures that have limits of their own. */
export function judgeLimits(what: string, figures: readonly { readonly value: number; readonly atMost: number }[], unit: string): Row {
  return {
    what,
    budget: `≤ ${figures.map(({ atMost }) => atMost).join(' · ')} ${unit}`,
    measured: `${figures.map(({ value }) => (value < 10 ? value.toFixed(2) : value.toFixed(0))).join(' · ')} ${unit}`,
    kept: figures.every(({ value, atMost }) => value <= atMost),
  }
}

export function notMeasured(what: string, budget: string, why: string): Row {
  return { what, budget, measured: why, kept: undefined }
}

/** A figure beside those of peers, of which nothing is promised. */
export function unjudged(what: string, ours: number, peers: ReadonlyMap<string, number>, unit: string): Row {
  const ratios = [...peers].map(([peer, figure]) => `${(ours / figure).toFixed(2)} × ${peer}`)
  return { what, budget: '', measured: `${ours.toFixed(0)} ${unit}: ${ratios.join(', ')}`, kept: true }
}

function verdict({ budget, kept }: Row): string {
  if (budget === '' && kept === true) return ''
  return kept === undefined ? 'not measured' : kept ? 'ok' : 'over'
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n')
}

/** The budgets, aligned for a terminal. */
export function terminalTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [row.what, row.budget, row.measured, verdict(row)])
  const widths = [0, 1, 2].map((column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n')
}

/** docs/performance.md. */
export function page({ rows, details }: CaseReport, environment: Environment): string {
  const { date, machine, versions, busyBefore } = environment
  return `# Performance

<!-- Written by \`npm run bench\`: run it to write it anew. -->

Measured on ${date.slice(0, 10)} in one run, on ${machine}${busyBefore > 0.05 ? `, of which others used ${(busyBefore * 100).toFixed(0)} % when it began` : ''}.
${Object.entries(versions)
  .map(([name, version]) => `${name} ${version}`)
  .join(' · ')}.

${table(
  ['what', 'budget', 'measured', ''],
  rows.map((row) => [row.what, row.budget, row.measured, verdict(row)]),
)}

## How it is measured

- Everybody uses the same certificates (P-256, leaf and intermediate), TLS 1.3 with X25519, and the same upstream, which answers 1 KB; nobody
  offers to resume a session, and the load generator counts that none was and that every handshake presented a certificate.
- One worker each, pinned to one core; load and upstream on the other; both before other processes where root runs it. CPU is the kernel's account of the proxy's own processes, user and
  system; requests are counted by the upstream in the same window, which leaves out the beginning and the end of the load.
- Contenders take turns, round after round, after one round to warm up; figures are medians over that half of each contender's turns in
  which other processes of the machine did least; ratios are of medians.
- Postern is the bundle with its production flags, policy enforced, a record of every decision written to a pipe, metrics on. nginx and HAProxy
  decide nothing and log nothing; Envoy decides by RBAC on the URI SAN and sets x-forwarded-client-cert, without an access log. What
  logging costs the peers is thus in our disfavour.
- \`Node alone\` is a relay of bytes behind Node's own \`tls.Server\`, with our TLS options, no identity, policy or record: what any proxy on Node
  pays for a handshake (docs/decisions/0009).
- HTTP/2 is spoken on both sides, by nginx with \`grpc_pass\`; gRPC calls carry a message each way and end in trailers. Large bodies are counted
  whole, with the handshakes of their four connections; nobody buffers a body as a whole. As proxies of TCP all are asked for HTTP/1.1.
- Absolute figures depend on the machine and on what else it does; the ratios are what the budgets are about.

${details.map(({ title, columns, rows: lines }) => `## ${title}\n\n${table(columns, lines)}\n`).join('\n')}`
}
