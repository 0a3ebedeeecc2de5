-- Every call that changes the outside world: written down with its idempotency key before it is
-- made, closed by an answer or by evidence. Never deleted.

CREATE TABLE operations (
    id              UUID NOT NULL PRIMARY KEY,
    job_id          UUID NOT NULL REFERENCES jobs (id),
    kind            TEXT NOT NULL CHECK (kind IN ('close')),
    channel         TEXT NOT NULL,
    reference       TEXT NOT NULL,
    generation      BIGINT NOT NULL CHECK (generation >= 1),
    idempotency_key TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL CHECK (state IN ('intended', 'succeeded', 'declined', 'unknown')),
    detail          TEXT NOT NULL,
    evidence        TEXT,
    intended_at     TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    UNIQUE (channel, reference, kind, generation),
    CHECK (state IN ('intended', 'unknown') OR evidence IS NOT NULL)
);

-- One open operation of a kind per reference: a second one would be a blind resubmission.
CREATE UNIQUE INDEX operations_one_open ON operations (channel, reference, kind)
    WHERE state IN ('intended', 'unknown');
CREATE INDEX operations_by_job ON operations (job_id, id);
