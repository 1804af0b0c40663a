-- Names: what addresses lead back to, the serials of the zones that are served, and what an external server of names
-- was told.

-- What the owner had the server's addresses lead back to; none: the default.
ALTER TABLE server ADD COLUMN reverse_name TEXT;
-- Grows whenever the names of a server change, so that a look at the sum tells whether any did.
ALTER TABLE server ADD COLUMN name_revision BIGINT NOT NULL DEFAULT 0;

-- A name of the provider's own zone belongs to one server at a time, from its order on.
CREATE TABLE dns_claim (
    name TEXT PRIMARY KEY,
    server_id BIGINT NOT NULL REFERENCES server (id)
);
CREATE INDEX dns_claim_server ON dns_claim (server_id);

-- The serial of a zone rises with its content and never falls, whatever restarts.
CREATE TABLE dns_zone (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    serial BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

-- What an external server of names was told, one row for each owner and type. It is written before the server is told
-- and marked as agreed after it has answered, so that nothing that was told is ever forgotten.
CREATE TABLE dns_published (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- None: the record is to go.
    value TEXT,
    agreed BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    retry_at BIGINT NOT NULL,
    last_error TEXT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (owner, kind)
);
