-- Jobs, their history, and what was refused at the door.
-- See domain/job.rs for the states and what may follow each.

CREATE TABLE jobs (
    id              BLOB NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL CHECK (kind IN ('deferred_authorization', 'order_expiry', 'settlement_run', 'partner_notification', 'reconciliation')),
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 3),
    partition_key   TEXT,
    idempotency_key TEXT NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    payload         TEXT NOT NULL,
    payload_sha256  TEXT NOT NULL CHECK (length(payload_sha256) = 64),
    source          TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('ready', 'running', 'cancelling', 'done', 'dead', 'cancelled')),
    version         INTEGER NOT NULL CHECK (version >= 1),
    run_at          INTEGER NOT NULL,
    attempt         INTEGER NOT NULL CHECK (attempt >= 0),
    attempts_max    INTEGER NOT NULL CHECK (attempts_max >= 1),
    rescues         INTEGER NOT NULL CHECK (rescues >= 0),
    lease_worker    TEXT,
    lease_epoch     INTEGER NOT NULL CHECK (lease_epoch >= 0),
    lease_until     INTEGER,
    note            TEXT NOT NULL,
    last_error      TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    UNIQUE (kind, idempotency_key),
    CHECK ((state IN ('running', 'cancelling')) = (lease_until IS NOT NULL)),
    CHECK ((lease_worker IS NULL) = (lease_until IS NULL))
) STRICT;

-- The claim walks one priority of one kind (a kind is its own queue) from the oldest due row; what is not due or not
-- waiting costs nothing.
CREATE INDEX jobs_due ON jobs (kind, priority, run_at, id) WHERE state = 'ready';
CREATE INDEX jobs_leased ON jobs (lease_until, id) WHERE state IN ('running', 'cancelling');
CREATE INDEX jobs_by_state ON jobs (state, kind, id);
CREATE INDEX jobs_by_kind ON jobs (kind, id);

-- One row per change of state: `version` is the job's version after the change.
CREATE TABLE job_events (
    job_id      BLOB NOT NULL REFERENCES jobs (id),
    version     INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    event       TEXT NOT NULL CHECK (event IN ('accepted', 'leased', 'finished', 'snoozed', 'retried', 'buried', 'rescued', 'handed_back', 'cancelled', 'requeued')),
    state       TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    worker      TEXT,
    reason      TEXT NOT NULL,
    PRIMARY KEY (job_id, version)
) STRICT;

-- What was refused at the door, kept with its bytes. The key makes a redelivered refusal one row.
CREATE TABLE rejected_submissions (
    id              BLOB NOT NULL PRIMARY KEY,
    source          TEXT NOT NULL,
    entry_id        TEXT NOT NULL,
    kind            TEXT,
    idempotency_key TEXT,
    raw             BLOB NOT NULL,
    reason          TEXT NOT NULL,
    job_id          BLOB,
    rejected_at     INTEGER NOT NULL,
    UNIQUE (source, entry_id)
) STRICT;
