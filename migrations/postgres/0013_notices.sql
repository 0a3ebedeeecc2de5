-- Messages to partners and to upstream: who is told what on which way, and what became of it.
-- See domain/notice.rs for the states and what may follow each. Every try is an operation of kind
-- 'send' whose reference is the id of the notice.

CREATE TABLE notices (
    id          UUID NOT NULL PRIMARY KEY,
    job_id      UUID NOT NULL REFERENCES jobs (id),
    order_no    TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    purpose     TEXT NOT NULL CHECK (purpose IN ('pay_request', 'reminder', 'withdrawn', 'callback')),
    -- Of several answers to upstream about one order, which; empty for partners.
    step        TEXT NOT NULL,
    channel     TEXT NOT NULL CHECK (channel IN ('sms', 'email', 'webhook')),
    target      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    content     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('planned', 'sending', 'unknown', 'sent', 'delivered', 'suppressed', 'exhausted')),
    version     BIGINT NOT NULL CHECK (version >= 1),
    attempts    BIGINT NOT NULL CHECK (attempts >= 0),
    -- When it is sent, or asked about, next; NULL where nothing is left to do.
    look_at     TIMESTAMPTZ,
    deadline    TIMESTAMPTZ NOT NULL,
    last_answer TEXT NOT NULL,
    -- Whether its target said that it wants nothing more (410).
    is_gone     SMALLINT NOT NULL CHECK (is_gone IN (0, 1)),
    planned_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL,
    UNIQUE (order_no, recipient, purpose, step, channel),
    CHECK (state NOT IN ('planned', 'sending') OR look_at IS NOT NULL),
    CHECK (state NOT IN ('sent', 'delivered', 'suppressed', 'exhausted') OR look_at IS NULL),
    CHECK (state NOT IN ('sending', 'unknown', 'sent', 'delivered') OR attempts >= 1)
);
CREATE INDEX notices_by_job ON notices (job_id, id);
CREATE INDEX notices_gone ON notices (target) WHERE is_gone = 1;
