-- Holds on payers' money, the methods that take no part any more, and the answers upstream waits for.
-- See domain/authorization.rs for the states and what may follow each.

-- What was decided last about an order's methods: every intent moves the version it was decided on, so
-- that two jobs for one order cannot both ask for what one of them would.
CREATE TABLE authorization_plans (
    order_no   TEXT NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL CHECK (version >= 1),
    updated_at INTEGER NOT NULL
) STRICT;

-- `amount_minor` is what is held or was taken; before that is proved, what was asked for; after its
-- end, what had been. `keep_minor` is what is to stay of one that is being let go.
CREATE TABLE authorizations (
    channel           TEXT NOT NULL,
    reference         TEXT NOT NULL,
    order_no          TEXT NOT NULL,
    merchant_id       TEXT NOT NULL,
    method_id         TEXT NOT NULL,
    method_group      TEXT NOT NULL CHECK (method_group IN ('credit_card', 'customer_account', 'stored_value_card', 'other')),
    number            INTEGER NOT NULL CHECK (number >= 1),
    capture           TEXT NOT NULL CHECK (capture IN ('automatic', 'manual')),
    amount_minor      INTEGER NOT NULL CHECK (amount_minor > 0),
    currency          TEXT NOT NULL CHECK (length(currency) = 3),
    keep_minor        INTEGER CHECK (keep_minor >= 0),
    state             TEXT NOT NULL CHECK (state IN ('intended', 'unknown', 'authorized', 'voiding', 'captured', 'voided', 'lapsed', 'declined', 'absent')),
    version           INTEGER NOT NULL CHECK (version >= 1),
    because           TEXT NOT NULL,
    detail            TEXT NOT NULL,
    evidence          TEXT,
    channel_trade_no  TEXT,
    captured_at       INTEGER,
    surplus_told_at   INTEGER,
    job_id            BLOB NOT NULL REFERENCES jobs (id),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (channel, reference),
    UNIQUE (order_no, method_id, number),
    CHECK (state IN ('intended', 'unknown') OR evidence IS NOT NULL),
    CHECK ((state = 'voiding') = (keep_minor IS NOT NULL)),
    CHECK ((state = 'captured') = (captured_at IS NOT NULL AND channel_trade_no IS NOT NULL))
) STRICT;
-- One method holds or takes an order's money once.
CREATE UNIQUE INDEX authorizations_one_live ON authorizations (order_no, method_id)
    WHERE state IN ('intended', 'unknown', 'authorized', 'voiding', 'captured');

-- One call about an authorization has an open outcome, whether it asks to hold or to let go.
CREATE UNIQUE INDEX operations_one_open_per_authorization ON operations (channel, reference)
    WHERE state IN ('intended', 'unknown') AND kind IN ('authorize', 'void');

CREATE TABLE suspended_methods (
    order_no     TEXT NOT NULL,
    method_id    TEXT NOT NULL,
    code         TEXT NOT NULL CHECK (code IN ('declined', 'card_expired', 'charge_zero', 'channel_unknown', 'channel_cannot', 'asked_too_often')),
    message      TEXT NOT NULL,
    job_id       BLOB NOT NULL REFERENCES jobs (id),
    suspended_at INTEGER NOT NULL,
    PRIMARY KEY (order_no, method_id)
) STRICT;

-- One answer per job, never changed.
CREATE TABLE authorization_answers (
    job_id      BLOB NOT NULL PRIMARY KEY REFERENCES jobs (id),
    order_no    TEXT NOT NULL,
    successful  TEXT NOT NULL CHECK (successful IN ('Y', 'N')),
    answer      TEXT NOT NULL,
    answered_at INTEGER NOT NULL
) STRICT;
