-- What two people must agree on before money moves, and the chain of what people did.
-- See domain/approval.rs for the states and domain/audit.rs for the chain.

CREATE TABLE approvals (
    id           UUID NOT NULL PRIMARY KEY,
    action       TEXT NOT NULL CHECK (action IN ('payout', 'offline_payment', 'release', 'bank_account')),
    subject      TEXT NOT NULL,
    shown        TEXT NOT NULL,
    digest       TEXT NOT NULL CHECK (length(digest) = 64),
    merchant_id  TEXT,
    payee        TEXT,
    amount_minor BIGINT,
    currency     TEXT,
    value_on     TEXT CHECK (length(value_on) = 10),
    rule         TEXT NOT NULL CHECK (rule IN ('two_people', 'below_limit')),
    state        TEXT NOT NULL CHECK (state IN ('requested', 'approved', 'rejected', 'superseded')),
    maker        TEXT,
    made_at      TIMESTAMPTZ,
    checker      TEXT,
    checked_at   TIMESTAMPTZ,
    rejected_by  TEXT,
    reason       TEXT,
    job_id       UUID REFERENCES jobs (id),
    version      BIGINT NOT NULL CHECK (version >= 1),
    requested_at TIMESTAMPTZ NOT NULL,
    updated_at   TIMESTAMPTZ NOT NULL,
    CHECK (maker IS NULL OR checker IS NULL OR maker <> checker),
    CHECK (state <> 'approved' OR rule = 'below_limit' OR (maker IS NOT NULL AND checker IS NOT NULL)),
    CHECK (state <> 'requested' OR (rule = 'two_people' AND checker IS NULL)),
    CHECK (state <> 'rejected' OR (rejected_by IS NOT NULL AND reason IS NOT NULL)),
    CHECK (rule <> 'below_limit' OR (action = 'payout' AND amount_minor IS NOT NULL)),
    CHECK (checker IS NULL OR maker IS NOT NULL),
    CHECK ((maker IS NULL) = (made_at IS NULL)),
    CHECK ((checker IS NULL) = (checked_at IS NULL)),
    CHECK ((amount_minor IS NULL) = (currency IS NULL))
);

-- One request in force for one thing: what is asked anew supersedes what was asked before.
CREATE UNIQUE INDEX approvals_in_force ON approvals (action, subject) WHERE state IN ('requested', 'approved');
CREATE INDEX approvals_of_subject ON approvals (action, subject, id);
CREATE INDEX approvals_by_state ON approvals (state, id);
CREATE INDEX approvals_of_day ON approvals (payee, value_on, currency) WHERE state IN ('requested', 'approved');

-- The chain: each row carries the digest of the row before it, and the head remembers the last one, so that
-- a row edited, deleted, inserted, moved or cut off the end is noticed by `clearday audit verify`.
CREATE TABLE audit_log (
    seq         BIGINT NOT NULL UNIQUE CHECK (seq >= 1),
    prev_sha256 TEXT NOT NULL CHECK (length(prev_sha256) = 64),
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    at          TIMESTAMPTZ NOT NULL,
    who         TEXT NOT NULL,
    what        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    detail      TEXT NOT NULL
);
CREATE INDEX audit_log_of_subject ON audit_log (subject, seq);

-- One row, which whoever appends holds until the commit.
CREATE TABLE audit_head (
    chain  TEXT NOT NULL PRIMARY KEY CHECK (chain = 'audit_log'),
    seq    BIGINT NOT NULL CHECK (seq >= 0),
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64)
);
INSERT INTO audit_head (chain, seq, sha256) VALUES ('audit_log', 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- Set while a worker holds the job and something it may have looked at changes: its snooze then ends at once.
ALTER TABLE jobs ADD COLUMN woken_at TIMESTAMPTZ;
