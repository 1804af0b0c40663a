-- Networks of servers: further addresses, firewalls, rates, and what was dropped as forged.

-- Whose address it is besides its own one, which server_id says. It is never both.
ALTER TABLE address ADD COLUMN further_server_id BIGINT REFERENCES server (id)
    CHECK (further_server_id IS NULL OR server_id IS NULL);
CREATE INDEX address_further ON address (further_server_id);

-- A server's rules in their order; the first that fits decides.
CREATE TABLE firewall_rule (
    server_id BIGINT NOT NULL REFERENCES server (id),
    position BIGINT NOT NULL,
    direction TEXT NOT NULL,
    action TEXT NOT NULL,
    protocol TEXT NOT NULL,
    ports TEXT,
    network TEXT,
    PRIMARY KEY (server_id, position)
);

-- Bits in a second that servers of a package receive and send at most; 0 is as many as there are.
ALTER TABLE package ADD COLUMN rate_down_bps BIGINT NOT NULL DEFAULT 0;
ALTER TABLE package ADD COLUMN rate_up_bps BIGINT NOT NULL DEFAULT 0;
-- The same in either direction for those that are slowed down when their traffic is used up.
ALTER TABLE package ADD COLUMN slow_bps BIGINT NOT NULL DEFAULT 1000000;
-- What a server's machine was last told.
ALTER TABLE server ADD COLUMN rate_down_bps BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server ADD COLUMN rate_up_bps BIGINT NOT NULL DEFAULT 0;
-- When the house slowed a server down in a month.
ALTER TABLE traffic_month ADD COLUMN slowed_at BIGINT;

-- Frames that a server's machine had no right to send: of each epoch as last seen, and of all its life.
ALTER TABLE traffic_counter ADD COLUMN forged_frames BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server ADD COLUMN forged_frames BIGINT NOT NULL DEFAULT 0;
