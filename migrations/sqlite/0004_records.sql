-- Our own records of payments and refunds, as the upstream system imports them.

-- Lists of record numbers are sorted by their bytes and asked for between the first and the last, so
-- the column has that order too, whatever language the database was made for.
CREATE TABLE records (
    kind               TEXT NOT NULL CHECK (kind IN ('payment', 'refund')),
    record_no          TEXT COLLATE BINARY NOT NULL,
    channel            TEXT NOT NULL,
    channel_trade_no   TEXT,
    merchant_id        TEXT NOT NULL,
    amount_minor       INTEGER NOT NULL CHECK (amount_minor >= 0),
    currency           TEXT NOT NULL CHECK (length(currency) = 3),
    fee_minor          INTEGER NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('succeeded', 'failed', 'pending', 'closed')),
    occurred_at        INTEGER NOT NULL,
    original_record_no TEXT,
    coupon_minor       INTEGER,
    coupon_funder      TEXT CHECK (coupon_funder IN ('merchant', 'channel', 'platform', 'third_party')),
    imported_at        INTEGER NOT NULL,
    PRIMARY KEY (kind, record_no)
) STRICT;
CREATE INDEX records_by_day ON records (channel, occurred_at);
