-- Metering: versions of prices, the intervals that they price, and how far accounts are charged.

-- A price never changes; another one is another row. What was bought keeps the version that held then.
CREATE TABLE price (
    id {id},
    -- package, disk, snapshot, address or traffic.
    kind TEXT NOT NULL,
    -- The package that it is the price of; for traffic the package that it holds for, all others if none.
    package_id BIGINT REFERENCES package (id),
    -- Of an hour: of a package, of a GiB of disk or snapshot, of an address. Of a GB: traffic.
    unit_micros BIGINT NOT NULL,
    -- Most that a calendar month costs: packages only.
    monthly_micros BIGINT,
    valid_from BIGINT NOT NULL
);
CREATE INDEX price_kind ON price (kind, package_id, id);
INSERT INTO price (kind, package_id, unit_micros, monthly_micros, valid_from)
    SELECT 'package', id, hourly_micros, monthly_micros, 0 FROM package ORDER BY id;
INSERT INTO price (kind, unit_micros, valid_from)
    VALUES ('disk', 0, 0), ('snapshot', 0, 0), ('address', 0, 0), ('traffic', 0, 0);

-- What a stopped server of the package costs: full, disk (its disk and its address) or none.
ALTER TABLE package ADD COLUMN when_stopped TEXT NOT NULL DEFAULT 'full';

-- A priced span. Times are whole seconds. All that rating needs stands in the row, frozen when it was opened.
CREATE TABLE usage_interval (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    -- server, snapshot, address or traffic, and that thing's id; for traffic the server's.
    kind TEXT NOT NULL,
    subject_id BIGINT NOT NULL,
    server_id BIGINT NOT NULL REFERENCES server (id),
    package_id BIGINT REFERENCES package (id),
    -- running, stopped, kept or moved.
    state TEXT NOT NULL,
    price_id BIGINT NOT NULL REFERENCES price (id),
    -- How many: servers, GiB, addresses; bytes for traffic.
    units BIGINT NOT NULL,
    unit_micros BIGINT NOT NULL,
    monthly_micros BIGINT,
    -- second or hour.
    counting TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_at BIGINT,
    -- Another interval of the same thing begins where this one ends.
    continues BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX usage_interval_open ON usage_interval (kind, subject_id) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX usage_interval_traffic ON usage_interval (subject_id, opened_at) WHERE kind = 'traffic';
CREATE INDEX usage_interval_account ON usage_interval (account_id, closed_at);
CREATE INDEX usage_interval_subject ON usage_interval (kind, subject_id, opened_at);

-- Pays after the month: no order is refused for want of balance.
ALTER TABLE account ADD COLUMN is_postpaid BIGINT NOT NULL DEFAULT 0;
-- The hour up to which its intervals are charged: nothing of before changes any more.
ALTER TABLE account ADD COLUMN charged_until BIGINT NOT NULL DEFAULT 0;
-- It has intervals that are not charged to their ends.
ALTER TABLE account ADD COLUMN is_metered BIGINT NOT NULL DEFAULT 0;
CREATE INDEX account_metered ON account (charged_until) WHERE is_metered = 1;

-- What an operation under way will cost by the hour from its end on.
CREATE TABLE spending_hold (
    operation_id BIGINT PRIMARY KEY REFERENCES operation (id),
    account_id BIGINT NOT NULL REFERENCES account (id),
    hourly_micros BIGINT NOT NULL
);
CREATE INDEX spending_hold_account ON spending_hold (account_id);
