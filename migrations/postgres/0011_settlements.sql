-- Settlements: what a merchant is owed for a period, and how it is paid.
-- See domain/settlement_run for the states and what may follow each.

-- A period is half-open and begins where the one before it ended; a net that is not paid goes into the
-- next settlement as `carried_minor`. A date that no calendar knows yet is NULL, and then nothing is paid.
CREATE TABLE settlements (
    id                  UUID NOT NULL PRIMARY KEY,
    merchant_id         TEXT NOT NULL,
    currency            TEXT NOT NULL CHECK (length(currency) = 3),
    sequence_no         BIGINT NOT NULL CHECK (sequence_no >= 1),
    period_from         TEXT COLLATE "C" NOT NULL CHECK (length(period_from) = 10),
    period_until        TEXT COLLATE "C" NOT NULL CHECK (length(period_until) = 10),
    state               TEXT NOT NULL CHECK (state IN ('calculated', 'carried_over', 'approved', 'paid')),
    due_on              TEXT COLLATE "C" CHECK (length(due_on) = 10),
    calendar            TEXT NOT NULL,
    calendar_version    TEXT NOT NULL,
    items_count         BIGINT NOT NULL CHECK (items_count >= 0),
    gross_minor         BIGINT NOT NULL,
    coupons_minor       BIGINT NOT NULL,
    refunds_minor       BIGINT NOT NULL,
    merchant_fees_minor BIGINT NOT NULL,
    reserve_minor       BIGINT NOT NULL,
    carried_minor       BIGINT NOT NULL,
    net_minor           BIGINT NOT NULL,
    digest              TEXT NOT NULL CHECK (length(digest) = 64),
    approval_id         UUID,
    job_id              UUID NOT NULL REFERENCES jobs (id),
    version             BIGINT NOT NULL CHECK (version >= 1),
    created_at          TIMESTAMPTZ NOT NULL,
    updated_at          TIMESTAMPTZ NOT NULL,
    UNIQUE (merchant_id, currency, sequence_no),
    CHECK (period_from < period_until),
    CHECK (net_minor = gross_minor + coupons_minor - refunds_minor - merchant_fees_minor - reserve_minor + carried_minor),
    CHECK (state <> 'approved' OR approval_id IS NOT NULL),
    CHECK (state IN ('calculated', 'carried_over') OR net_minor > 0)
);
CREATE INDEX settlements_unfinished ON settlements (merchant_id, currency, sequence_no) WHERE state IN ('calculated', 'approved');

-- What a settlement is made of. A record is settled once: that is the key. `credit_minor` is what it moves from
-- merchant_pending (a refund's is negative), `merchant_fee_minor` our fee on it, negative when given back.
CREATE TABLE settlement_items (
    kind                TEXT NOT NULL CHECK (kind IN ('payment', 'refund')),
    record_no           TEXT COLLATE "C" NOT NULL,
    settlement_id       UUID NOT NULL REFERENCES settlements (id),
    amount_minor        BIGINT NOT NULL CHECK (amount_minor >= 0),
    funded_coupon_minor BIGINT NOT NULL CHECK (funded_coupon_minor >= 0),
    credit_minor        BIGINT NOT NULL,
    merchant_fee_minor  BIGINT NOT NULL,
    original_record_no  TEXT COLLATE "C",
    PRIMARY KEY (kind, record_no)
);
CREATE INDEX settlement_items_of ON settlement_items (settlement_id, kind, record_no);
CREATE INDEX settlement_items_of_original ON settlement_items (original_record_no, record_no) WHERE original_record_no IS NOT NULL;

-- A settlement is paid in numbered parts, because banks have ceilings.
CREATE TABLE settlement_parts (
    settlement_id UUID NOT NULL REFERENCES settlements (id),
    part_no       BIGINT NOT NULL CHECK (part_no >= 1),
    amount_minor  BIGINT NOT NULL CHECK (amount_minor > 0),
    currency      TEXT NOT NULL CHECK (length(currency) = 3),
    state         TEXT NOT NULL CHECK (state IN ('planned', 'sent', 'unknown', 'accepted', 'confirmed', 'rejected', 'bounced', 'returned', 'paid_offline')),
    reason        TEXT NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (settlement_id, part_no)
);

-- What a bank was told, written down with its operation before it was told. A new generation needs proof that the
-- one before it is dead.
CREATE TABLE payout_instructions (
    settlement_id    UUID NOT NULL,
    part_no          BIGINT NOT NULL,
    generation       BIGINT NOT NULL CHECK (generation >= 1),
    end_to_end_id    TEXT NOT NULL UNIQUE CHECK (length(end_to_end_id) <= 35),
    operation_id     UUID NOT NULL UNIQUE,
    approval_id      UUID NOT NULL,
    bank             TEXT NOT NULL,
    payee_account_no TEXT NOT NULL,
    payee_name       TEXT NOT NULL,
    amount_minor     BIGINT NOT NULL CHECK (amount_minor > 0),
    currency         TEXT NOT NULL CHECK (length(currency) = 3),
    remittance       TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'rejected', 'returned')),
    debited_on       TEXT CHECK (length(debited_on) = 10),
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (settlement_id, part_no, generation),
    FOREIGN KEY (settlement_id, part_no) REFERENCES settlement_parts (settlement_id, part_no),
    CHECK (state <> 'confirmed' OR debited_on IS NOT NULL)
);
-- One open instruction per part: a second one would pay twice.
CREATE UNIQUE INDEX payout_instructions_one_open ON payout_instructions (settlement_id, part_no) WHERE state = 'open';

-- Payments that somebody says were made outside of clearday (线下付款), each with its evidence and two people.
CREATE TABLE offline_payments (
    id             UUID NOT NULL PRIMARY KEY,
    settlement_id  UUID NOT NULL,
    part_no        BIGINT NOT NULL,
    amount_minor   BIGINT NOT NULL CHECK (amount_minor > 0),
    currency       TEXT NOT NULL CHECK (length(currency) = 3),
    bank           TEXT NOT NULL,
    paid_on        TEXT NOT NULL CHECK (length(paid_on) = 10),
    bank_reference TEXT NOT NULL,
    proof_sha256   TEXT NOT NULL CHECK (length(proof_sha256) = 64),
    registered_by  TEXT NOT NULL,
    approval_id    UUID NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('registered', 'refused', 'waiting', 'counted', 'surplus')),
    debited_on     TEXT CHECK (length(debited_on) = 10),
    registered_at  TIMESTAMPTZ NOT NULL,
    updated_at     TIMESTAMPTZ NOT NULL,
    FOREIGN KEY (settlement_id, part_no) REFERENCES settlement_parts (settlement_id, part_no)
);
-- One claim at a time waits for its decision.
CREATE UNIQUE INDEX offline_payments_one_open ON offline_payments (settlement_id, part_no) WHERE state IN ('registered', 'waiting');
-- A number of the bank stands for one payment; whoever was refused may register it again.
CREATE UNIQUE INDEX offline_payments_by_number ON offline_payments (bank, bank_reference) WHERE state <> 'refused';
CREATE INDEX offline_payments_not_shown ON offline_payments (bank, paid_on, bank_reference) WHERE state = 'counted' AND debited_on IS NULL;

-- One row per change: `version` is the settlement's version after it, also where only a part changed.
CREATE TABLE settlement_events (
    settlement_id UUID NOT NULL REFERENCES settlements (id),
    version       BIGINT NOT NULL,
    occurred_at   TIMESTAMPTZ NOT NULL,
    part_no       BIGINT,
    event         TEXT NOT NULL,
    state         TEXT NOT NULL,
    reason        TEXT NOT NULL,
    job_id        UUID,
    PRIMARY KEY (settlement_id, version)
);

-- What is not settled yet is found without looking at what is. No foreign key: a settlement may mark a million
-- records, and its items have one.
ALTER TABLE records ADD COLUMN settlement_id UUID;
CREATE INDEX records_unsettled ON records (merchant_id, currency, occurred_at, kind, record_no) WHERE settlement_id IS NULL AND status = 'succeeded';
CREATE INDEX breaks_open_of_record ON breaks (kind, record_no) WHERE state = 'open';
