/** The tables of the PostgreSQL store, version by version. What was released is never edited; a change is another step at the end. */
export const POSTGRES_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE postern_ca_issuances (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    serial text NOT NULL UNIQUE,
    spiffe_id text NOT NULL,
    authority text NOT NULL,
    attested_by text NOT NULL,
    evidence text NOT NULL,
    key_hash text NOT NULL,
    not_before bigint NOT NULL,
    not_after bigint NOT NULL,
    issued_at bigint NOT NULL
  );
  CREATE INDEX postern_ca_issuances_by_spiffe_id ON postern_ca_issuances (spiffe_id, id);
  CREATE INDEX postern_ca_issuances_by_end ON postern_ca_issuances (not_after);

  CREATE TABLE postern_ca_join_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash text NOT NULL UNIQUE,
    spiffe_id text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    used_at bigint NOT NULL
  );

  CREATE TABLE postern_ca_revocations (
    kind text NOT NULL,
    value text NOT NULL,
    authority text NOT NULL,
    reason text NOT NULL,
    revoked_at bigint NOT NULL,
    ends_at bigint,
    PRIMARY KEY (kind, value, authority)
  );

  CREATE TABLE postern_ca_authorities (
    id text NOT NULL PRIMARY KEY,
    state text NOT NULL,
    kind text NOT NULL,
    chain text NOT NULL,
    key text NOT NULL,
    not_after bigint NOT NULL,
    changed_at bigint NOT NULL
  );

  CREATE TABLE postern_ca_leases (
    spiffe_id text NOT NULL,
    instance text NOT NULL,
    sequence bigint NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (spiffe_id, instance)
  );

  CREATE TABLE postern_ca_bundle (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    sequence bigint NOT NULL
  );
  INSERT INTO postern_ca_bundle VALUES (1, 0);
  `,
]

/** Advisory locks share one space of numbers with every program on the database: these are the bytes of `PstnCA` and a number. */
export const LOCKS = { migration: '5797105162279518209', leadership: '5797105162279518210' } as const
