-- Networks: what pools give to each server, notes of reserved addresses, and traffic by months.

-- Length of the prefix that each server of an IPv6 pool gets: 128 for a single address, 64 for a network of its own.
ALTER TABLE address_pool ADD COLUMN per_server BIGINT NOT NULL DEFAULT 128;
-- The lowest number of a network of this pool that was never given.
ALTER TABLE address_pool ADD COLUMN next_number BIGINT NOT NULL DEFAULT 1;
-- Why an address is reserved.
ALTER TABLE address ADD COLUMN note TEXT;

-- The pool of a server's IPv6 address: what its guest is told of resolvers, and what keeps the pool from being removed.
ALTER TABLE server ADD COLUMN ipv6_pool_id BIGINT REFERENCES address_pool (id);
UPDATE server SET ipv6_pool_id = (SELECT MIN(address_pool.id) FROM address_pool
    WHERE address_pool.region_id = server.region_id AND address_pool.family = 6)
    WHERE ipv6 IS NOT NULL AND phase <> 'destroyed';
CREATE INDEX server_ipv6_pool ON server (ipv6_pool_id);

-- Networks of IPv6 pools that were given to servers. A row stays when its server is gone, and is given again when all
-- numbers are used.
CREATE TABLE address_prefix (
    pool_id BIGINT NOT NULL REFERENCES address_pool (id),
    number BIGINT NOT NULL,
    server_id BIGINT UNIQUE REFERENCES server (id),
    released_at BIGINT NOT NULL,
    PRIMARY KEY (pool_id, number)
);

-- Samples are rolled up by their age.
CREATE INDEX traffic_sample_minute ON traffic_sample (minute);

-- What a server moved in a calendar month, added up as it was counted: exact, whatever becomes of the samples.
CREATE TABLE traffic_month (
    server_id BIGINT NOT NULL REFERENCES server (id),
    -- Its number since January 1970.
    month BIGINT NOT NULL,
    received_bytes BIGINT NOT NULL,
    sent_bytes BIGINT NOT NULL,
    -- The operator lets it use more than its package includes.
    is_allowed_more BIGINT NOT NULL DEFAULT 0,
    -- When the house stopped it for having used all.
    stopped_at BIGINT,
    PRIMARY KEY (server_id, month)
);
CREATE INDEX traffic_month_month ON traffic_month (month);

-- What becomes of servers that have used all: nothing or stop.
ALTER TABLE package ADD COLUMN at_traffic_limit TEXT NOT NULL DEFAULT 'nothing';
