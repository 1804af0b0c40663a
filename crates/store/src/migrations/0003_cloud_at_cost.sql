-- Cloud at Cost: keys of accounts, pools of resources, run modes and what machines use.

CREATE TABLE api_key (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    -- The key's public beginning, by which its row is found.
    prefix TEXT NOT NULL UNIQUE,
    -- HMAC-SHA-256 of the whole key under a key that derives from the master key, hexadecimal.
    digest TEXT NOT NULL,
    -- The networks that it may be used from, JSON; none: nowhere yet.
    networks TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    -- Within a minute.
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX api_key_account ON api_key (account_id, id);

-- What an account may have in servers that cost nothing by the hour, and what such servers take now.
CREATE TABLE resource_pool (
    account_id BIGINT PRIMARY KEY REFERENCES account (id),
    cpu_total BIGINT NOT NULL,
    memory_mib_total BIGINT NOT NULL,
    disk_gib_total BIGINT NOT NULL,
    cpu_used BIGINT NOT NULL,
    memory_mib_used BIGINT NOT NULL,
    disk_gib_used BIGINT NOT NULL
);

-- It draws on its account's resource pool, and is not billed.
ALTER TABLE server ADD COLUMN in_pool BIGINT NOT NULL DEFAULT 0;
-- Its name was chosen by its owner.
ALTER TABLE server ADD COLUMN is_named BIGINT NOT NULL DEFAULT 1;
ALTER TABLE server ADD COLUMN run_mode TEXT NOT NULL DEFAULT 'normal';
-- Lists of servers leave the passwords out.
ALTER TABLE account ADD COLUMN hides_secrets BIGINT NOT NULL DEFAULT 0;

-- What a server's machine used when it was last looked at.
CREATE TABLE machine_usage (
    server_id BIGINT PRIMARY KEY REFERENCES server (id),
    epoch TEXT NOT NULL,
    cpu_us BIGINT NOT NULL,
    traffic_bytes BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    disk_bytes BIGINT NOT NULL,
    -- Of all its processors, between the last two looks.
    cpu_permille BIGINT NOT NULL,
    -- How long it has been seen idle without a break, microseconds.
    idle_us BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
