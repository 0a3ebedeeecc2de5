-- The ledger: entries, their postings, and the facts about money that the outside told us.
-- See domain/ledger for the accounts and for what each event posts.

-- Numbers and names are compared by their bytes, whatever language the database was made for: what
-- was booked about a subject is found between `subject/` and the next text after it.
CREATE TABLE journal_entries (
    id             BLOB NOT NULL PRIMARY KEY,
    identity       TEXT COLLATE BINARY NOT NULL UNIQUE,
    event          TEXT NOT NULL CHECK (event IN ('capture', 'balance_capture', 'refund', 'refund_intended', 'refund_succeeded', 'channel_fee', 'merchant_fee', 'late_money', 'late_money_returned', 'collected', 'reserve_held', 'reserve_released', 'payout_submitted', 'payout_confirmed', 'payout_rejected', 'payout_returned', 'return_released', 'offline_approved', 'offline_on_statement', 'second_debit', 'deposit', 'dispute_opened', 'dispute_lost', 'dispute_won', 'authorization', 'authorization_voided', 'opening_balance', 'break_long', 'break_short', 'write_off', 'reversal')),
    accounting_on  TEXT NOT NULL CHECK (length(accounting_on) = 10),
    merchant_id    TEXT,
    subject        TEXT NOT NULL,
    currency       TEXT NOT NULL CHECK (length(currency) = 3),
    postings_count INTEGER NOT NULL CHECK (postings_count >= 1),
    sha256         TEXT NOT NULL CHECK (length(sha256) = 64),
    job_id         BLOB REFERENCES jobs (id),
    booked_at      INTEGER NOT NULL
) STRICT;

-- A posting names both its sides, so one that does not balance cannot be written.
CREATE TABLE postings (
    entry_id       BLOB NOT NULL REFERENCES journal_entries (id),
    line           INTEGER NOT NULL CHECK (line >= 1),
    debit_account  TEXT NOT NULL CHECK (debit_account IN ('bank', 'channel_receivable', 'coupon_receivable', 'customer_balance', 'merchant_pending', 'merchant_payable', 'merchant_overpaid', 'reserve', 'refund_in_transit', 'payout_in_transit', 'payout_returned', 'offline_in_transit', 'unallocated_receipts', 'dispute_asset', 'dispute_hold', 'suspense', 'fee_income', 'other_income', 'channel_fee', 'marketing', 'reconciliation_loss', 'memo_exposure', 'memo_contra', 'opening_balance')),
    debit_owner    TEXT NOT NULL,
    credit_account TEXT NOT NULL CHECK (credit_account IN ('bank', 'channel_receivable', 'coupon_receivable', 'customer_balance', 'merchant_pending', 'merchant_payable', 'merchant_overpaid', 'reserve', 'refund_in_transit', 'payout_in_transit', 'payout_returned', 'offline_in_transit', 'unallocated_receipts', 'dispute_asset', 'dispute_hold', 'suspense', 'fee_income', 'other_income', 'channel_fee', 'marketing', 'reconciliation_loss', 'memo_exposure', 'memo_contra', 'opening_balance')),
    credit_owner   TEXT NOT NULL,
    amount_minor   INTEGER NOT NULL CHECK (amount_minor > 0),
    currency       TEXT NOT NULL CHECK (length(currency) = 3),
    PRIMARY KEY (entry_id, line),
    CHECK (debit_account <> credit_account OR debit_owner <> credit_owner)
) STRICT;
-- A balance is read from these two alone.
CREATE INDEX postings_by_debit ON postings (debit_account, debit_owner, currency, amount_minor);
CREATE INDEX postings_by_credit ON postings (credit_account, credit_owner, currency, amount_minor);

-- One row per fact, whoever told it first and however often: `account` is the channel or bank that
-- knows it, `external_no` its number there.
CREATE TABLE money_facts (
    account       TEXT NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('capture', 'refund', 'payout', 'offline_payment', 'deposit', 'return', 'bank_debit', 'bank_credit')),
    external_no   TEXT NOT NULL,
    amount_minor  INTEGER NOT NULL,
    currency      TEXT NOT NULL CHECK (length(currency) = 3),
    occurred_at   INTEGER NOT NULL,
    source        TEXT NOT NULL CHECK (source IN ('record', 'query', 'callback', 'statement')),
    evidence      TEXT NOT NULL,
    entry_id      BLOB REFERENCES journal_entries (id),
    first_seen_at INTEGER NOT NULL,
    PRIMARY KEY (account, kind, external_no)
) STRICT;

-- How a record stands in the ledger: NULL until it was looked at. `booked_fee_minor` is the fee booked
-- so far, in `fee_entries` entries; `taken_by` is the job of ours that found the payment at the channel.
ALTER TABLE records ADD COLUMN booking TEXT CHECK (booking IN ('by_funder', 'coupon_excluded', 'direct', 'elsewhere'));
ALTER TABLE records ADD COLUMN booked_entry_id BLOB;
ALTER TABLE records ADD COLUMN booked_fee_minor INTEGER;
ALTER TABLE records ADD COLUMN fee_entries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN taken_by BLOB;
-- What waits to be booked, and what was booked with another fee than is known now.
CREATE INDEX records_unbooked ON records (kind, record_no) WHERE status = 'succeeded' AND booking IS NULL;
CREATE INDEX records_fee_changed ON records (kind, record_no) WHERE booked_fee_minor <> fee_minor;
