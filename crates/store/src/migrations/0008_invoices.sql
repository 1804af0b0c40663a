-- Invoices: whom they are for, their numbers, and what their lines are made from.

-- What an account's invoices say about it; what is absent is taken from the account or the settings.
CREATE TABLE billing_details (
    account_id BIGINT PRIMARY KEY REFERENCES account (id),
    name TEXT,
    -- JSON: the lines of the address.
    address TEXT NOT NULL,
    vat_id TEXT,
    -- In millionths.
    tax_millionths BIGINT,
    note TEXT,
    updated_at BIGINT NOT NULL
);

-- The last number of each series. It is raised in the transaction of the invoice that has it, so that none is left out.
CREATE TABLE invoice_series (
    series TEXT PRIMARY KEY,
    last BIGINT NOT NULL
);

-- All that was charged before is on invoices, or was nothing.
ALTER TABLE account ADD COLUMN invoiced_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX account_invoiced ON account (invoiced_until);

ALTER TABLE invoice ADD COLUMN tax_millionths BIGINT NOT NULL DEFAULT 0;
-- JSON: names and addresses as they were then.
ALTER TABLE invoice ADD COLUMN issuer TEXT NOT NULL DEFAULT '{"name":"","address":[],"vat_id":""}';
ALTER TABLE invoice ADD COLUMN recipient TEXT NOT NULL DEFAULT '{"name":"","address":[],"vat_id":""}';
ALTER TABLE invoice ADD COLUMN note TEXT NOT NULL DEFAULT '';
-- SHA-256 of all that it said when it was made, hexadecimal.
ALTER TABLE invoice ADD COLUMN digest TEXT NOT NULL DEFAULT '';
CREATE INDEX invoice_unpaid ON invoice (account_id) WHERE status = 'unpaid';

-- What the thing was called then.
ALTER TABLE invoice_line ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE invoice_line ADD COLUMN details TEXT NOT NULL DEFAULT '';

-- The intervals that a line was made from. One that began in an earlier month stands on that month's invoice too.
CREATE TABLE invoice_line_interval (
    invoice_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    interval_id BIGINT NOT NULL REFERENCES usage_interval (id),
    PRIMARY KEY (invoice_id, position, interval_id),
    FOREIGN KEY (invoice_id, position) REFERENCES invoice_line (invoice_id, position)
);
CREATE INDEX invoice_line_interval_interval ON invoice_line_interval (interval_id);

-- An invoice never changes but for being paid, and is never removed: the database itself refuses it.
{immutable invoice id account_id number period_start period_end currency subtotal_micros tax_millionths tax_micros
    total_micros issued_at due_at issuer recipient note digest};
{immutable invoice_line};
{immutable invoice_line_interval};
