-- Snapshots, applications, and what the rest of the Cloude dialect reads and writes.

CREATE TABLE snapshot (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    -- The server's row outlives the server.
    server_id BIGINT NOT NULL REFERENCES server (id),
    node_id BIGINT NOT NULL REFERENCES node (id),
    region_id BIGINT NOT NULL REFERENCES region (id),
    image_id BIGINT NOT NULL REFERENCES image (id),
    name TEXT NOT NULL,
    phase TEXT NOT NULL,
    progress BIGINT NOT NULL,
    consistency TEXT,
    disk_gib BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    -- The server as it was, JSON: what the document's answers show.
    facts TEXT NOT NULL,
    -- What a server needs that gets this disk back.
    image_files TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    sealed_password TEXT,
    created_at BIGINT NOT NULL,
    destroyed_at BIGINT
);
CREATE INDEX snapshot_account ON snapshot (account_id, phase);
CREATE INDEX snapshot_server ON snapshot (server_id);
CREATE INDEX snapshot_node ON snapshot (node_id, phase);

ALTER TABLE operation ADD COLUMN snapshot_id BIGINT REFERENCES snapshot (id);
ALTER TABLE operation ADD COLUMN holds_server BIGINT NOT NULL DEFAULT 1;
DROP INDEX operation_one_live;
-- One live operation holds a server; the end of a snapshot holds none.
CREATE UNIQUE INDEX operation_one_live ON operation (server_id) WHERE status = 0 AND holds_server = 1;
CREATE INDEX operation_snapshot ON operation (snapshot_id) WHERE status = 0;

-- An application is a template and a recipe. The recipe is frozen on the server, so that a later change of the
-- catalogue changes no server that is there.
ALTER TABLE image ADD COLUMN base_slug TEXT;
ALTER TABLE image ADD COLUMN recipe TEXT;
-- The recipe of that name that the program brings, whose changes the application follows; none: the operator's own.
ALTER TABLE image ADD COLUMN recipe_name TEXT;
ALTER TABLE server ADD COLUMN recipe TEXT;
-- Its disk began as a copy of another server's.
ALTER TABLE server ADD COLUMN fresh_identity BIGINT NOT NULL DEFAULT 0;

-- What a changing request with an Idempotency-Key answered first, written with the change itself.
CREATE TABLE idempotency (
    account_id BIGINT NOT NULL REFERENCES account (id),
    idempotency_key TEXT NOT NULL,
    -- SHA-256 of call and parameters, hexadecimal: the key cannot be used for something else.
    fingerprint TEXT NOT NULL,
    -- Sealed: an answer may hold a password.
    sealed_answer TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, idempotency_key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE invoice (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    number TEXT NOT NULL UNIQUE,
    period_start BIGINT NOT NULL,
    period_end BIGINT NOT NULL,
    status TEXT NOT NULL,
    currency TEXT NOT NULL,
    subtotal_micros BIGINT NOT NULL,
    tax_micros BIGINT NOT NULL,
    total_micros BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    paid_at BIGINT
);
CREATE INDEX invoice_account ON invoice (account_id, id);
CREATE TABLE invoice_line (
    invoice_id BIGINT NOT NULL REFERENCES invoice (id),
    position BIGINT NOT NULL,
    description TEXT NOT NULL,
    quantity_millionths BIGINT NOT NULL,
    unit TEXT NOT NULL,
    unit_price_micros BIGINT NOT NULL,
    amount_micros BIGINT NOT NULL,
    server_id BIGINT REFERENCES server (id),
    PRIMARY KEY (invoice_id, position)
);

-- Bytes that a server received and sent in one minute.
CREATE TABLE traffic_sample (
    server_id BIGINT NOT NULL REFERENCES server (id),
    -- Its number since 1970.
    minute BIGINT NOT NULL,
    received_bytes BIGINT NOT NULL,
    sent_bytes BIGINT NOT NULL,
    PRIMARY KEY (server_id, minute)
);

-- The counters of each epoch of a server's machine as they were last seen.
CREATE TABLE traffic_counter (
    server_id BIGINT NOT NULL REFERENCES server (id),
    epoch TEXT NOT NULL,
    received_bytes BIGINT NOT NULL,
    sent_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (server_id, epoch)
);
