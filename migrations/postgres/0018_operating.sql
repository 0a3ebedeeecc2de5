-- Operating: queues that people pause, daemons that are at work, and how finished jobs leave.

-- A kind is its own queue. One without a row was never paused.
CREATE TABLE queues (
    kind       TEXT NOT NULL PRIMARY KEY CHECK (kind IN ('deferred_authorization', 'order_expiry', 'settlement_run', 'partner_notification', 'reconciliation')),
    paused_at  TIMESTAMPTZ,
    paused_by  TEXT,
    reason     TEXT,
    version    BIGINT NOT NULL CHECK (version >= 1),
    updated_at TIMESTAMPTZ NOT NULL,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
    CHECK ((paused_at IS NULL) = (reason IS NULL))
);

-- Who is at work: written with every heartbeat, taken away by a daemon that stops. Nothing is decided by it.
CREATE TABLE daemons (
    name            TEXT NOT NULL PRIMARY KEY,
    release_version TEXT NOT NULL,
    started_at      TIMESTAMPTZ NOT NULL,
    seen_at         TIMESTAMPTZ NOT NULL
);

-- The history of a job may outlive it, so it does not refer to it any more; and an operator may put a job off. The
-- table is made anew, because SQLite cannot change a CHECK; no other table refers to it.
CREATE TABLE job_events_that_stay (
    job_id      UUID NOT NULL,
    version     BIGINT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    event       TEXT NOT NULL CHECK (event IN ('accepted', 'leased', 'finished', 'snoozed', 'retried', 'buried', 'rescued', 'handed_back', 'cancelled', 'requeued', 'postponed')),
    state       TEXT NOT NULL,
    attempt     BIGINT NOT NULL,
    worker      TEXT,
    reason      TEXT NOT NULL,
    PRIMARY KEY (job_id, version)
);
INSERT INTO job_events_that_stay (job_id, version, occurred_at, event, state, attempt, worker, reason)
SELECT job_id, version, occurred_at, event, state, attempt, worker, reason FROM job_events;
DROP TABLE job_events;
ALTER TABLE job_events_that_stay RENAME TO job_events;

-- What is left of a job that was pruned while its history stays.
CREATE TABLE pruned_jobs (
    id              UUID NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL CHECK (kind IN ('deferred_authorization', 'order_expiry', 'settlement_run', 'partner_notification', 'reconciliation')),
    idempotency_key TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('done', 'cancelled')),
    ended_at        TIMESTAMPTZ NOT NULL,
    pruned_at       TIMESTAMPTZ NOT NULL
);
CREATE INDEX pruned_jobs_by_end ON pruned_jobs (ended_at, id);

-- Set when the time of a job was over and the books referred to it: it stays, and is not looked at again.
ALTER TABLE jobs ADD COLUMN kept_at TIMESTAMPTZ;
-- Pruning walks from the job that ended first and meets none that stays. NOT IN, because planners would look IN up in
-- jobs_by_state, and sort what they find.
CREATE INDEX jobs_prunable ON jobs (updated_at, id) WHERE state NOT IN ('ready', 'running', 'cancelling', 'dead') AND kept_at IS NULL;

-- Every table that refers to jobs is asked before one is deleted, and once more by the database.
CREATE INDEX reconciliation_runs_by_job ON reconciliation_runs (job_id);
CREATE INDEX ticks_by_job ON ticks (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX journal_entries_by_job ON journal_entries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX approvals_by_job ON approvals (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX settlements_by_job ON settlements (job_id);
CREATE INDEX authorizations_by_job ON authorizations (job_id);
CREATE INDEX suspended_methods_by_job ON suspended_methods (job_id);

-- The job that does what a refused submission asked for, once somebody mended it.
ALTER TABLE rejected_submissions ADD COLUMN mended_job_id UUID;
