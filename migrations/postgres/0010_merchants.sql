-- Merchants who are owed money, what they pay us, and partners who may be asked to pay. Lists of them are
-- in the order of their ids, byte by byte. Rates are in billionths, days are YYYY-MM-DD.

CREATE TABLE merchants (
    merchant_id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name                 TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    currency             TEXT NOT NULL CHECK (length(currency) = 3),
    cycle                TEXT NOT NULL CHECK (length(cycle) BETWEEN 3 AND 32),
    cutoff               TEXT NOT NULL CHECK (length(cutoff) = 5),
    zone                 TEXT NOT NULL CHECK (length(zone) >= 1),
    calendar             TEXT NOT NULL CHECK (length(calendar) = 2),
    minimum_minor        BIGINT NOT NULL CHECK (minimum_minor >= 0),
    settle_basis         TEXT NOT NULL CHECK (settle_basis IN ('captured', 'reconciled', 'funded')),
    funds_flow           TEXT NOT NULL CHECK (funds_flow IN ('collected', 'direct')),
    coupons              TEXT NOT NULL CHECK (coupons IN ('by_funder', 'excluded')),
    reserve_billionths   BIGINT NOT NULL CHECK (reserve_billionths BETWEEN 0 AND 1000000000),
    is_held              SMALLINT NOT NULL CHECK (is_held IN (0, 1)),
    bank                 TEXT NOT NULL CHECK (length(bank) BETWEEN 1 AND 64),
    account_no           TEXT NOT NULL CHECK (length(account_no) BETWEEN 1 AND 34),
    account_name         TEXT NOT NULL CHECK (length(account_name) BETWEEN 1 AND 140),
    -- Another account, until two people approve it or refuse it.
    pending_bank         TEXT CHECK (length(pending_bank) BETWEEN 1 AND 64),
    pending_account_no   TEXT CHECK (length(pending_account_no) BETWEEN 1 AND 34),
    pending_account_name TEXT CHECK (length(pending_account_name) BETWEEN 1 AND 140),
    version              BIGINT NOT NULL CHECK (version >= 1),
    created_at           TIMESTAMPTZ NOT NULL,
    updated_at           TIMESTAMPTZ NOT NULL,
    CHECK ((pending_bank IS NULL) = (pending_account_no IS NULL)),
    CHECK ((pending_bank IS NULL) = (pending_account_name IS NULL))
);

CREATE TABLE fee_contracts (
    merchant_id      TEXT COLLATE "C" NOT NULL REFERENCES merchants (merchant_id),
    valid_from       TEXT COLLATE "C" NOT NULL CHECK (length(valid_from) = 10),
    valid_until      TEXT COLLATE "C" CHECK (length(valid_until) = 10),
    rate_billionths  BIGINT NOT NULL CHECK (rate_billionths BETWEEN 0 AND 1000000000),
    fixed_minor      BIGINT NOT NULL CHECK (fixed_minor >= 0),
    minimum_minor    BIGINT NOT NULL CHECK (minimum_minor >= 0),
    maximum_minor    BIGINT CHECK (maximum_minor >= 0),
    rounding         TEXT NOT NULL CHECK (rounding IN ('half_up', 'half_even', 'up', 'down')),
    returns_fees     SMALLINT NOT NULL CHECK (returns_fees IN (0, 1)),
    PRIMARY KEY (merchant_id, valid_from),
    CHECK (valid_until >= valid_from),
    CHECK (maximum_minor >= minimum_minor)
);

CREATE TABLE partners (
    partner_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    zone        TEXT NOT NULL CHECK (length(zone) >= 1),
    delivery    TEXT NOT NULL CHECK (delivery IN ('all', 'fallback')),
    -- The preferred one first, with semicolons between them.
    channels    TEXT NOT NULL CHECK (length(channels) BETWEEN 3 AND 32),
    sms_number  TEXT CHECK (length(sms_number) BETWEEN 8 AND 16),
    email       TEXT CHECK (length(email) BETWEEN 3 AND 254),
    webhook_url TEXT CHECK (length(webhook_url) BETWEEN 8 AND 2048),
    is_disabled SMALLINT NOT NULL CHECK (is_disabled IN (0, 1)),
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL,
    CHECK (channels NOT LIKE '%sms%' OR sms_number IS NOT NULL),
    CHECK (channels NOT LIKE '%email%' OR email IS NOT NULL),
    CHECK (channels NOT LIKE '%webhook%' OR webhook_url IS NOT NULL)
);
