-- Fairness between partitions: which of them have work of a kind that is due is read from the front of each, so it
-- costs as much as there are partitions and not as much as there are jobs. Work of nobody in particular is a
-- partition too, the one with the empty name.

UPDATE jobs SET partition_key = '' WHERE partition_key IS NULL;
CREATE INDEX jobs_due_by_partition ON jobs (kind, priority, partition_key, run_at, id) WHERE state = 'ready';

-- From when on something outside may be asked again, over all daemons: a row for each that has a pace.
CREATE TABLE paces (
    name    TEXT NOT NULL PRIMARY KEY,
    next_at TIMESTAMPTZ NOT NULL
);
