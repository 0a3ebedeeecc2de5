-- Operations of more kinds than closing. The table is made anew, because SQLite cannot change a CHECK;
-- no other table refers to it.

CREATE TABLE operations_of_all_kinds (
    id              BLOB NOT NULL PRIMARY KEY,
    job_id          BLOB NOT NULL REFERENCES jobs (id),
    kind            TEXT NOT NULL CHECK (kind IN ('close', 'authorize', 'void', 'pay_out', 'send')),
    channel         TEXT NOT NULL,
    reference       TEXT NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 1),
    idempotency_key TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL CHECK (state IN ('intended', 'succeeded', 'declined', 'unknown')),
    detail          TEXT NOT NULL,
    evidence        TEXT,
    intended_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    UNIQUE (channel, reference, kind, generation),
    CHECK (state IN ('intended', 'unknown') OR evidence IS NOT NULL)
) STRICT;
INSERT INTO operations_of_all_kinds (id, job_id, kind, channel, reference, generation, idempotency_key, state, detail, evidence, intended_at, updated_at)
SELECT id, job_id, kind, channel, reference, generation, idempotency_key, state, detail, evidence, intended_at, updated_at FROM operations;
DROP TABLE operations;
ALTER TABLE operations_of_all_kinds RENAME TO operations;

-- One open operation of a kind per reference: a second one would be a blind resubmission.
CREATE UNIQUE INDEX operations_one_open ON operations (channel, reference, kind)
    WHERE state IN ('intended', 'unknown');
CREATE INDEX operations_by_job ON operations (job_id, id);
