/** The tables of the SQLite store, version by version. What was released is never edited; a change is another step at the end. */
export const SQLITE_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE issuances (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    serial TEXT NOT NULL UNIQUE,
    spiffe_id TEXT NOT NULL,
    authority TEXT NOT NULL,
    attested_by TEXT NOT NULL,
    evidence TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    issued_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX issuances_by_spiffe_id ON issuances (spiffe_id, id);
  CREATE INDEX issuances_by_end ON issuances (not_after);

  CREATE TABLE join_tokens (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    spiffe_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE revocations (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    authority TEXT NOT NULL,
    reason TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    ends_at INTEGER,
    PRIMARY KEY (kind, value, authority)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE authorities (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    chain TEXT NOT NULL,
    key TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE leases (
    spiffe_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (spiffe_id, instance)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE bundle (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence INTEGER NOT NULL,
    probed INTEGER NOT NULL
  ) STRICT;
  INSERT INTO bundle VALUES (1, 0, 0);
  `,
]

/** In the header of the file: \`PstC\`. Another program's database is recognised by it. */
export const APPLICATION_ID = 0x50_73_74_43
