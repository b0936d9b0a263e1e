/** A group of issuances and redemptions as one statement, so one round trip and one commit, which PgBouncer may pool as it likes. */
import { ISSUANCE_COLUMNS, names, valuesOf } from './columns.ts'
import type { Outcome } from './group-commit.ts'
import { refuseJoinToken } from './join-token.ts'
import { conflict, isConnectionLoss, isContention, isItemsOwnFault } from './postgres-faults.ts'
import type { Connection, Value } from './postgres-pool.ts'
import type { Issuance, JoinToken } from './store.ts'

export interface Issue {
  readonly issuance: Issuance
  /** Hash; `''` for none. */
  readonly joinToken: string
}

const FIELDS = Object.keys(ISSUANCE_COLUMNS) as (keyof Issuance)[]
const TYPES = FIELDS.map((field) => (['notBefore', 'notAfter', 'issuedAt'].includes(field) ? 'bigint' : 'text'))

/**
 * A token is used up if it is unused, unexpired and for this id; an issuance is recorded if it needs no token or has just used one up. Two
 * replicas that want one token meet at its row: the second waits for the first, and then finds it used.
 */
const ISSUE = `
  WITH wanted AS (
    SELECT * FROM unnest(${[...TYPES, 'text'].map((type, index) => `$${index + 1}::${type}[]`).join(', ')})
      WITH ORDINALITY AS rows (${names(ISSUANCE_COLUMNS)}, token, place)
  ), used AS (
    UPDATE postern_ca_join_tokens AS tokens SET used_at = wanted.issued_at FROM wanted
      WHERE tokens.hash = wanted.token AND tokens.used_at = 0 AND tokens.expires_at > wanted.issued_at AND tokens.spiffe_id = wanted.spiffe_id
      RETURNING tokens.hash
  )
  INSERT INTO postern_ca_issuances (${names(ISSUANCE_COLUMNS)})
    SELECT ${names(ISSUANCE_COLUMNS)} FROM wanted WHERE token = '' OR token IN (SELECT hash FROM used) ORDER BY place
    RETURNING serial`

const ATTEMPTS = 4

/** Each has its outcome; rejects if the database cannot be reached or refuses the whole. */
export async function issueGroup(connection: Connection, group: readonly Issue[]): Promise<readonly Outcome[]> {
  const outcomes = new Map<Issue, Outcome>()
  let open = group
  while (open.length > 0) {
    // One statement uses a token up once: another that wants it comes after, and is told.
    const [now, later] = splitByToken(open)
    for (const [issue, outcome] of await issueSome(connection, now)) outcomes.set(issue, outcome)
    open = later
  }
  return group.map((issue) => outcomes.get(issue) ?? { value: undefined })
}

function splitByToken(issues: readonly Issue[]): readonly [now: Issue[], later: Issue[]] {
  const seen = new Set<string>()
  const [now, later]: [Issue[], Issue[]] = [[], []]
  for (const issue of issues) {
    const { joinToken } = issue
    if (joinToken !== '' && seen.has(joinToken)) later.push(issue)
    else now.push(issue)
    seen.add(joinToken)
  }
  return [now, later]
}

type Outcomes = readonly (readonly [Issue, Outcome])[]

async function issueSome(connection: Connection, issues: readonly Issue[]): Promise<Outcomes> {
  try {
    return await attempt(connection, issues)
  } catch (error) {
    if (!isItemsOwnFault(error)) throw error
    const [only] = issues
    if (issues.length === 1 && only !== undefined) return [[only, { error: conflict(error) }]]
    // One of them cannot be, and took the statement with it.
    const each: (readonly [Issue, Outcome])[] = []
    for (const issue of issues) each.push(...(await issueSome(connection, [issue])))
    return each
  }
}

async function attempt(connection: Connection, issues: readonly Issue[]): Promise<Outcomes> {
  let open = issues
  const done: (readonly [Issue, Outcome])[] = []
  for (let round = 1; open.length > 0; round++) {
    try {
      const recorded = new Set((await connection.query(ISSUE, arraysOf(open))).map(({ serial }) => serial))
      for (const issue of open) {
        done.push([issue, { value: recorded.has(issue.issuance.serial) ? undefined : await whyRefused(connection, issue) }])
      }
      break
    } catch (error) {
      if (round === ATTEMPTS || !(isContention(error) || isConnectionLoss(error))) throw error
      if (isConnectionLoss(error)) open = await stillOpen(connection, open, done)
    }
  }
  return done
}

/** The answer was lost, not necessarily the commit. A serial is made by chance, once: if it is there, it is this one. */
async function stillOpen(connection: Connection, issues: readonly Issue[], done: (readonly [Issue, Outcome])[]): Promise<readonly Issue[]> {
  const serials = issues.map(({ issuance }) => issuance.serial)
  const rows = await connection.query(
    'SELECT serial, key_hash AS "keyHash", issued_at AS "issuedAt" FROM postern_ca_issuances WHERE serial = ANY($1::text[])',
    [serials],
  )
  const there = new Map(rows.map((row) => [row['serial'], row]))
  return issues.filter((issue) => {
    const row = there.get(issue.issuance.serial)
    const same = row?.['keyHash'] === issue.issuance.keyHash && row['issuedAt'] === issue.issuance.issuedAt
    if (same) done.push([issue, { value: undefined }])
    return !same
  })
}

async function whyRefused(connection: Connection, { issuance, joinToken }: Issue): Promise<unknown> {
  const [row] = await connection.query(
    'SELECT spiffe_id AS "spiffeId", expires_at AS "expiresAt", used_at AS "usedAt" FROM postern_ca_join_tokens WHERE hash = $1',
    [joinToken],
  )
  const token = row as Pick<JoinToken, 'spiffeId' | 'expiresAt' | 'usedAt'> | undefined
  return refuseJoinToken(token, issuance.spiffeId, issuance.issuedAt) ?? refuseJoinToken(undefined, issuance.spiffeId, issuance.issuedAt)
}

/** A column each, as \`unnest\` takes them. */
function arraysOf(issues: readonly Issue[]): Value[] {
  const columns: (string | number | null)[][] = [...FIELDS, 'token'].map(() => [])
  for (const { issuance, joinToken } of issues) {
    for (const [index, value] of [...valuesOf(ISSUANCE_COLUMNS, issuance), joinToken].entries()) columns[index]?.push(value)
  }
  return columns
}
