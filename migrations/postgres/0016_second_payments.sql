-- Second payments: the line of a statement that a debit is on, by the bank's number of it, and breaks that no reading
-- of a statement found, because they follow from what people decided later.

ALTER TABLE payout_instructions ADD COLUMN debit_no TEXT;
ALTER TABLE offline_payments ADD COLUMN debit_no TEXT;

-- The table is made anew, because SQLite cannot let a column be empty that was not; no other table refers to it.

CREATE TABLE breaks_of_any_origin (
    id               UUID NOT NULL PRIMARY KEY,
    identity         TEXT NOT NULL UNIQUE,
    break_name       TEXT NOT NULL CHECK (break_name IN ('missing_ours', 'missing_theirs', 'amount_mismatch', 'fee_mismatch', 'status_mismatch', 'currency_mismatch', 'duplicate_ours', 'duplicate_theirs')),
    state            TEXT NOT NULL CHECK (state IN ('open', 'vanished')),
    channel          TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('payment', 'refund', 'payout', 'deposit')),
    record_no        TEXT,
    channel_trade_no TEXT,
    detail           TEXT NOT NULL,
    at_risk_minor    BIGINT NOT NULL,
    currency         TEXT NOT NULL,
    first_run_id     UUID REFERENCES reconciliation_runs (id),
    last_run_id      UUID REFERENCES reconciliation_runs (id),
    first_seen_at    TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL
);
INSERT INTO breaks_of_any_origin (id, identity, break_name, state, channel, kind, record_no, channel_trade_no, detail, at_risk_minor, currency, first_run_id, last_run_id, first_seen_at, updated_at)
SELECT id, identity, break_name, state, channel, kind, record_no, channel_trade_no, detail, at_risk_minor, currency, first_run_id, last_run_id, first_seen_at, updated_at FROM breaks;
DROP TABLE breaks;
ALTER TABLE breaks_of_any_origin RENAME TO breaks;

CREATE INDEX breaks_by_state ON breaks (state, id);
CREATE INDEX breaks_open_of_record ON breaks (kind, record_no) WHERE state = 'open';
