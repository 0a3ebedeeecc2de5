-- Reconciliation: each run of a scope is a version; a newer one supersedes the older.

CREATE TABLE reconciliation_runs (
    id              BLOB NOT NULL PRIMARY KEY,
    job_id          BLOB NOT NULL REFERENCES jobs (id),
    channel         TEXT NOT NULL,
    scope           TEXT NOT NULL,
    version         INTEGER NOT NULL CHECK (version >= 1),
    statements      TEXT NOT NULL,
    result_sha256   TEXT NOT NULL CHECK (length(result_sha256) = 64),
    summary         TEXT NOT NULL,
    is_complete     INTEGER NOT NULL CHECK (is_complete IN (0, 1)),
    created_at      INTEGER NOT NULL,
    UNIQUE (channel, scope, version)
) STRICT;

-- A break's identity is the external fact, not the run that found it.
CREATE TABLE breaks (
    id               BLOB NOT NULL PRIMARY KEY,
    identity         TEXT NOT NULL UNIQUE,
    break_name       TEXT NOT NULL CHECK (break_name IN ('missing_ours', 'missing_theirs', 'amount_mismatch', 'fee_mismatch', 'status_mismatch', 'currency_mismatch', 'duplicate_ours', 'duplicate_theirs')),
    state            TEXT NOT NULL CHECK (state IN ('open', 'vanished')),
    channel          TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('payment', 'refund')),
    record_no        TEXT,
    channel_trade_no TEXT,
    detail           TEXT NOT NULL,
    at_risk_minor    INTEGER NOT NULL,
    currency         TEXT NOT NULL,
    first_run_id     BLOB NOT NULL REFERENCES reconciliation_runs (id),
    last_run_id      BLOB NOT NULL REFERENCES reconciliation_runs (id),
    first_seen_at    INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX breaks_by_state ON breaks (state, id);

-- Every statement file that was ever offered, whole or refused; noticed again by its digest.
CREATE TABLE statement_files (
    sha256        TEXT NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
    channel       TEXT NOT NULL,
    file_name     TEXT NOT NULL,
    content       BLOB,
    verdict       TEXT NOT NULL CHECK (verdict IN ('accepted', 'refused')),
    reason        TEXT,
    first_seen_at INTEGER NOT NULL
) STRICT;
