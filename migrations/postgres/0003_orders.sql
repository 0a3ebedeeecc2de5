-- Orders, the references issued for their payment, and their history. An order that belongs to no
-- combination (组合购) is a group of its own: group_no = order_no.

CREATE TABLE orders (
    order_no     TEXT NOT NULL PRIMARY KEY,
    group_no     TEXT NOT NULL,
    merchant_id  TEXT NOT NULL,
    amount_minor BIGINT NOT NULL CHECK (amount_minor >= 0),
    currency     TEXT NOT NULL CHECK (length(currency) = 3),
    state        TEXT NOT NULL CHECK (state IN ('open', 'in_review', 'expiring', 'expired', 'paid', 'cancelled')),
    version      BIGINT NOT NULL CHECK (version >= 1),
    expires_at   TIMESTAMPTZ NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    updated_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX orders_by_group ON orders (group_no, order_no);

CREATE TABLE order_events (
    order_no    TEXT NOT NULL REFERENCES orders (order_no),
    version     BIGINT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    job_id      UUID,
    PRIMARY KEY (order_no, version)
);

CREATE TABLE payment_references (
    channel          TEXT NOT NULL,
    reference        TEXT NOT NULL,
    group_no         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('open', 'closed', 'paid')),
    channel_trade_no TEXT,
    paid_minor       BIGINT,
    paid_currency    TEXT,
    paid_at          TIMESTAMPTZ,
    evidence         TEXT,
    issued_at        TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel, reference),
    CHECK (state = 'open' OR evidence IS NOT NULL),
    CHECK ((state = 'paid') = (paid_minor IS NOT NULL AND paid_currency IS NOT NULL))
);
CREATE INDEX payment_references_by_group ON payment_references (group_no, channel, reference);
