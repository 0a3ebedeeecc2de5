-- The clock's decisions: every tick of a schedule has exactly one row and one fate.

CREATE TABLE schedules (
    name          TEXT NOT NULL PRIMARY KEY,
    first_seen_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE ticks (
    schedule   TEXT NOT NULL REFERENCES schedules (name),
    due_at     TIMESTAMPTZ NOT NULL,
    fate       TEXT NOT NULL CHECK (fate IN ('fired', 'coalesced', 'skipped', 'missed')),
    job_id     UUID REFERENCES jobs (id),
    decided_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (schedule, due_at),
    CHECK ((fate = 'fired') = (job_id IS NOT NULL))
);
